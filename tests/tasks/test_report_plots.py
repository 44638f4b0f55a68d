"""Pictures of a family: what they show is what the result holds."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.report_plots import family_figures


def drawn(result, name):
    (axes,) = family_figures(result)[name].axes
    return axes


def test_the_equity_curve_runs_from_the_first_to_the_last_account_value(trained):
    result = trained.result("lightgbm")
    (line,) = drawn(result, "equity").lines
    np.testing.assert_allclose(line.get_ydata(), [value for _, value in result.equity])
    assert "simulated, costs broker" in drawn(result, "equity").get_title()


def test_reliability_shows_what_was_said_against_what_came(trained):
    result = trained.result("lightgbm")
    axes = drawn(result, "reliability")
    (perfect, said) = axes.lines
    np.testing.assert_allclose(np.column_stack([said.get_xdata(), said.get_ydata()]), np.array(result.reliability)[:, :2])
    np.testing.assert_allclose(perfect.get_xdata(), perfect.get_ydata())
    assert f"{result.oos.direction_rows} rows" in said.get_label()


def test_importance_shows_the_largest_shares_largest_last(trained):
    result = trained.result("lightgbm")
    widths = [bar.get_width() for bar in drawn(result, "importance").patches]
    assert widths == sorted(result.importance.values())[-15:]
    assert sum(result.importance.values()) == pytest.approx(1.0, abs=1e-5)


def test_a_family_without_importance_and_without_a_single_trade_is_drawn_too(trained):
    bare = replace(trained.result("linear"), importance={}, equity=[], reliability=[])
    assert set(family_figures(bare)) == {"reliability", "equity"}

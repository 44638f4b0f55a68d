"""Thresholds: worked by hand on rows whose profit is written down."""

from types import SimpleNamespace

import numpy as np
import pytest

from serving.decision import BARRIER, LOTS, RISK, TARGET, signal
from tasks.evaluate import Piece
from tasks.thresholds import NEVER, choose
from tests.tasks.parts import pipeline

LADDER = np.linspace(0.400, 0.599, 200).astype(np.float32)  # 0.400, 0.401, ...


def rows_of(n, *, long=None, short=None, r_long=0.0, r_short=0.0, weights=1.0):
    """(pieces, snapshot) of n rows; probabilities of the sides, the rest is flat."""
    long = np.zeros(n) if long is None else np.asarray(long)
    short = np.zeros(n) if short is None else np.asarray(short)
    probabilities = np.column_stack([short, 1 - long - short, long]).astype(np.float32)
    columns = {"r_long": r_long, "r_short": r_short, "weights": weights}
    snapshot = SimpleNamespace(
        times=3600 * np.arange(1, n + 1), **{k: np.broadcast_to(v, n).astype(np.float32) for k, v in columns.items()}
    )
    return [Piece(np.arange(n), probabilities, np.zeros(0, np.int8))], snapshot


def taken(pieces, chosen):
    """How many rows of the pieces trade long and short under the chosen spec."""
    sides = [signal(*row, chosen.spec) for piece in pieces for row in piece.probabilities]
    return sides.count(1), sides.count(-1)


def test_the_level_with_the_largest_t_statistic_is_chosen():
    # The upper 100 of 200 rows earn 1 and 0 in turn: mean 0.5, sd 0.5, t = 1 x sqrt(100) = 10. Five per cent more rows of -1
    # give mean 0.364, sd 0.643, t = 5.9; five per cent fewer of the upper ones t = sqrt(90) = 9.5.
    r = np.where(np.arange(200) < 100, -1.0, np.arange(200) % 2)
    pieces, snapshot = rows_of(200, long=LADDER, r_long=r)
    chosen = choose(pieces, snapshot, pipeline())
    assert taken(pieces, chosen) == (100, 0)
    assert chosen.spec.threshold_long == pytest.approx(0.4995, abs=1e-6)
    assert chosen.spec.threshold_short == NEVER


def test_each_side_has_a_threshold_of_its_own():
    r = np.where(np.arange(200) < 150, -1.0, 1.0)
    pieces, snapshot = rows_of(400, long=[*LADDER, *np.zeros(200)], short=[*np.zeros(200), *LADDER], r_long=0.5, r_short=[*r, *r])
    chosen = choose(pieces, snapshot, pipeline())
    # Every long earns the same: the lowest level has the most rows. Of the shorts only 50 earn, fewer than the 60 a level needs;
    # the highest level with 60 has 60: 50 of +1 and 10 of -1.
    assert taken(pieces, chosen) == (200, 60)


@pytest.mark.parametrize("r", [-1.0, 0.0])
def test_no_level_that_earns_means_never(r):
    pieces, snapshot = rows_of(200, long=LADDER, r_long=r, r_short=5.0)
    chosen = choose(pieces, snapshot, pipeline())
    assert chosen.spec.threshold_long == chosen.spec.threshold_short == NEVER > 1.0
    assert taken(pieces, chosen) == (0, 0)
    assert signal(0.0, 0.0, 1.0, chosen.spec) == 0, "not even certainty trades"


@pytest.mark.parametrize(("favoured", "trades"), [(59, 0), (60, 60)])
def test_fewer_than_sixty_rows_of_a_side_choose_nothing_however_well_they_earn(favoured, trades):
    long = np.where(np.arange(200) < favoured, 0.5, 0.1)
    pieces, snapshot = rows_of(200, long=long, short=np.full(200, 0.2), r_long=1.0, r_short=-1.0)
    assert taken(pieces, choose(pieces, snapshot, pipeline())) == (trades, 0)


def test_a_row_that_overlaps_many_others_counts_as_little_as_its_weight():
    # Lower 100 rows lose 1 but weigh nothing: all levels below the middle are as good, the lowest comes first.
    r = np.where(np.arange(200) < 100, -1.0, np.arange(200) % 2)
    pieces, snapshot = rows_of(200, long=LADDER, r_long=r, weights=np.where(np.arange(200) < 100, 0.0, 1.0))
    assert taken(pieces, choose(pieces, snapshot, pipeline())) == (200, 0)


def test_the_row_that_set_the_level_reaches_it_in_float32_and_once_written_as_text():
    rng = np.random.default_rng(1)
    for _ in range(50):
        long = rng.uniform(0.34, 0.9, 60).astype(np.float32)
        pieces, snapshot = rows_of(60, long=long, short=np.full(60, 0.01), r_long=1.0)
        chosen = choose(pieces, snapshot, pipeline())
        again = chosen.spec._replace(threshold_long=float(repr(chosen.spec.threshold_long)))
        assert sum(signal(*row, again) for row in pieces[0].probabilities) == 60


def test_the_spec_carries_the_pipelines_exits_and_sizing_and_names_its_validation_rows():
    pieces, snapshot = rows_of(200, long=LADDER, r_long=1.0)
    halves = [Piece(p.rows[part], p.probabilities[part], p.train_label) for p in pieces for part in (slice(100), slice(100, 200))]
    barrier = choose(halves, snapshot, pipeline())
    assert (barrier.spec.mode, barrier.spec.sizing, barrier.spec.fixed_lots) == (BARRIER, LOTS, 0.1)
    assert (barrier.spec.stop_atr, barrier.spec.target_atr, barrier.spec.horizon_bars) == (1.5, 1.5, 3)
    assert (barrier.rows, barrier.origin.chosen_on, barrier.origin.rows) == (200, "validation", 200)
    assert barrier.origin.span == (3600, 200 * 3600)
    target = choose(halves, snapshot, pipeline(decision={"mode": "target", "risk_fraction": 0.02}))
    assert (target.spec.mode, target.spec.sizing, target.spec.risk_fraction) == (TARGET, RISK, 0.02)

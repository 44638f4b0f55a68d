"""Scores: of probabilities whose worth is known, and of money made with thresholds that other rows chose."""

from dataclasses import replace

import numpy as np
import pytest

from feature_store.clock import from_epoch
from serving.decision import BARRIER, LOTS, DecisionSpec
from tasks.evaluate import Piece, held_out, out_of_sample, save_holdout
from tests.tasks.parts import pipeline, snapshot_of, wandering

LOT = 10_000
TAKES_ALL = DecisionSpec(BARRIER, 0.5, 0.5, 1.5, 1.5, 3, LOTS, 0.01, 0.1)
HALVES = np.int8([0, 2])  # training labels whose base rate is one half


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return snapshot_of(tmp_path_factory.mktemp("walk"), wandering(700))


def knowing(snapshot, rows, share, seed=0):
    """Probabilities that lean to the right side in `share` of the rows, 0.6 to 0.2, and to the wrong one in the rest."""
    right = np.random.default_rng(seed).random(len(rows)) < share
    long = np.where(snapshot.label[rows] == 2, right, ~right)
    return np.where(long[:, None], np.float32([0.2, 0.2, 0.6]), np.float32([0.6, 0.2, 0.2]))


def in_two_folds(snapshot, rows, said, bases=(HALVES, HALVES)):
    """Out-of-sample scores of `rows` cut in two halves, each with the training labels beside it."""
    cut = len(rows) // 2
    parts = [Piece(rows[:cut], said[:cut], bases[0]), Piece(rows[cut:], said[cut:], bases[1])]
    return out_of_sample(parts, snapshot, pipeline(), seed=1)


def pairs_auc(q, y):
    """Share of (long, short) pairs in which the long row has the higher q, ties half: pair by pair."""
    difference = q[y == 1][:, None] - q[y == 0][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def test_scores_of_known_probabilities_are_as_worked_by_hand(walk):
    rows = np.arange(50, 450)
    said = knowing(walk, rows, 0.75)
    result = in_two_folds(walk, rows, said)
    scores = result.scores
    label = walk.label[rows]
    y = (label[label != 1] == 2).astype(float)
    q = said[label != 1][:, 2] / 0.8  # 0.75 or 0.25
    right = float((np.abs(q - y) < 0.5).mean())
    assert scores.kind == "out of sample" and (scores.rows, scores.direction_rows) == (400, len(y))
    assert scores.auc == pytest.approx(pairs_auc(q, y), abs=1e-9)
    # Right rows lose -ln 0.75 nats, wrong ones -ln 0.25, the base rate -ln 0.5 everywhere.
    lost = -right * np.log(0.75) - (1 - right) * np.log(0.25)
    assert scores.skill == pytest.approx(1 - lost / np.log(2), abs=1e-6)
    assert scores.brier == pytest.approx(right * 0.0625 + (1 - right) * 0.5625, abs=1e-6)
    assert scores.auc_low < scores.auc < scores.auc_high and scores.skill_low < scores.skill < scores.skill_high
    assert len(result.fold_auc) == 2
    assert min(result.fold_skill) < scores.skill < max(result.fold_skill), "the whole lies between its folds"
    assert scores.start == from_epoch(int(walk.times[50])).isoformat() and scores.start.endswith("+00:00")


def test_each_piece_is_measured_against_the_base_rate_of_its_own_training_rows(walk):
    rows = np.arange(50, 450)
    mostly_long, mostly_short = np.int8([2, 2, 2, 0, 1, 1]), np.int8([0, 0, 0, 2])
    first = np.tile(np.float32([0.2, 0.2, 0.6]), (200, 1))  # q = 0.75, which is what its training rows say
    second = np.tile(np.float32([0.6, 0.2, 0.2]), (200, 1))
    result = out_of_sample(
        [Piece(rows[:200], first, mostly_long), Piece(rows[200:], second, mostly_short)], walk, pipeline(), seed=1
    )
    assert result.fold_skill == pytest.approx([0.0, 0.0], abs=1e-6) and result.scores.skill == pytest.approx(0.0, abs=1e-6)
    swapped = out_of_sample(
        [Piece(rows[:200], first, mostly_short), Piece(rows[200:], second, mostly_long)], walk, pipeline(), seed=1
    )
    long = [float((walk.label[part][walk.label[part] != 1] == 2).mean()) for part in (rows[:200], rows[200:])]
    for skill, right in zip(swapped.fold_skill, (long[0], 1 - long[1]), strict=True):
        said, base = (-share * np.log(0.75) - (1 - share) * np.log(0.25) for share in (right, 1 - right))
        assert skill == pytest.approx(1 - said / base, abs=1e-6)


def test_a_model_that_knows_nothing_has_an_auc_of_one_half_and_no_skill(walk):
    rows = np.arange(50, 450)
    said = np.full((400, 3), 1 / 3, np.float32)
    scores = out_of_sample(
        [Piece(rows[:200], said[:200], HALVES), Piece(rows[200:], said[200:], HALVES)], walk, pipeline(), seed=1
    ).scores
    assert (scores.auc, scores.brier) == pytest.approx((0.5, 0.25))
    assert scores.skill == pytest.approx(0.0, abs=1e-9)
    assert (scores.trades, scores.net, scores.net_sharpe) == (0, 0.0, 0.0)


def slope(up):
    """150 bars of four pips each in one direction: in a rise every long wins, in a fall every long loses."""
    step = 4e-4 if up else -4e-4
    close = 1.1 + step * np.arange(1, 151) + (0 if up else 0.06)
    return np.column_stack([close - step, np.maximum(close, close - step) + 1e-5, np.minimum(close, close - step) - 1e-5, close])


@pytest.mark.parametrize("rises_first", [True, False])
def test_the_money_of_each_fold_is_made_with_thresholds_that_the_other_folds_chose(tmp_path, rises_first):
    # Its own thresholds would let the rise win and keep the fall out: a profit. The other's do the opposite: a loss.
    snapshot = snapshot_of(tmp_path, np.round(np.concatenate([slope(rises_first), slope(not rises_first)]), 5))
    rows = [np.arange(5, 140), np.arange(155, 290)]
    said = np.tile(np.float32([0.1, 0.2, 0.7]), (135, 1))
    scores = out_of_sample([Piece(r, said, HALVES) for r in rows], snapshot, pipeline(), seed=1).scores
    rise, fall = rows if rises_first else rows[::-1]
    assert (snapshot.r_long[rise] > 0).all() and (snapshot.r_long[fall] < 0).all()
    assert scores.trades > 10 and scores.net < -100.0
    assert scores.net == pytest.approx(scores.gross - scores.spread_cost - scores.commission + scores.swap)


def test_the_holdout_is_traded_with_the_spec_it_is_given_and_its_money_adds_up(walk):
    rows = np.arange(300, 690)
    piece = Piece(rows, knowing(walk, rows, 0.8), HALVES)
    held = held_out(piece, TAKES_ALL, walk, pipeline(), seed=1)
    s = held.scores
    assert s.kind == "holdout" and s.trades > 30
    assert s.net == pytest.approx(s.gross - s.spread_cost - s.commission + s.swap)
    assert s.spread_cost > 0 and s.commission == pytest.approx(0.70 * s.trades)
    assert s.net_return == pytest.approx(s.net / 10_000, rel=1e-9) == pytest.approx(np.prod(1 + held.daily_net) - 1)
    assert held.equity[-1][1] == pytest.approx(10_000 + s.net)
    stamps = [t for t, _ in held.equity]
    assert stamps == sorted(stamps) and stamps[0] == walk.times[300]
    never = held_out(piece, TAKES_ALL._replace(threshold_long=1.01, threshold_short=1.01), walk, pipeline(), seed=1)
    assert (never.scores.trades, never.scores.net, len(never.daily_net)) == (0, 0.0, len(held.daily_net))
    assert never.scores.auc == s.auc, "what a model knows does not depend on what it trades"


def test_turnover_is_what_was_bought_and_sold_in_a_year_over_the_starting_balance(tmp_path):
    snapshot = snapshot_of(tmp_path, np.tile([1.1, 1.1001, 1.0999, 1.1], (80, 1)))
    rows = np.arange(5, 70)
    said = np.tile(np.float32([0.1, 0.8, 0.1]), (65, 1))
    said[3] = [0.1, 0.1, 0.8]
    held = held_out(Piece(rows, said, HALVES), TAKES_ALL, snapshot, pipeline(), seed=1)
    # One trade of 0.1 lots: bought at 1.1001, sold at 1.1; the account has 10,000.
    days = len(held.daily_net)
    assert held.scores.trades == 1 and days in (3, 4)
    assert held.scores.turnover == pytest.approx(LOT * (1.1001 + 1.1) / 10_000 * 260 / days)


@pytest.mark.parametrize("last", [1988, 1989, 1990])
def test_a_long_equity_curve_is_thinned_and_still_ends_with_the_account(tmp_path, last):
    snapshot = snapshot_of(tmp_path, wandering(2000))
    rows = np.arange(5, last)
    held = held_out(Piece(rows, knowing(snapshot, rows, 0.5), HALVES), TAKES_ALL, snapshot, pipeline(), seed=1)
    assert len(held.equity) == 1500
    assert (held.equity[0][0], held.equity[-1][0]) == (snapshot.times[5], snapshot.label_end[rows].max())
    assert held.equity[-1][1] == pytest.approx(10_000 + held.scores.net)


def test_the_series_of_the_gate_are_kept_whole_and_written_anew(tmp_path, walk):
    rows = np.arange(300, 690)
    piece = Piece(rows, knowing(walk, rows, 0.8), np.int8([2, 2, 2, 0]))
    held = held_out(piece, TAKES_ALL, walk, pipeline(), seed=1)
    for written in (held, replace(held, daily_net=held.daily_net[:5])):
        save_holdout(tmp_path / "holdout.npz", written, piece, walk)
    with np.load(tmp_path / "holdout.npz") as found:
        assert len(found["daily_net"]) == 5
        directed = walk.label[rows] != 1
        np.testing.assert_array_equal(found["times_s"], walk.times[rows][directed])
        # Against a base rate of three quarters long: long rows lose -ln 0.75, short ones -ln 0.25.
        expected = np.where(walk.label[rows][directed] == 2, -np.log(0.75), -np.log(0.25))
        np.testing.assert_allclose(found["base_loss"], expected)
        assert found["loss"].mean() < found["base_loss"].mean()
    assert [p.name for p in tmp_path.iterdir()] == ["holdout.npz"]


def test_the_same_seed_gives_the_same_intervals(walk):
    rows = np.arange(300, 690)
    piece = Piece(rows, knowing(walk, rows, 0.6), HALVES)
    a, b, c = (held_out(piece, TAKES_ALL, walk, pipeline(), seed=seed).scores for seed in (1, 1, 2))
    assert a == b
    assert (a.auc, a.skill, a.net_sharpe) == (c.auc, c.skill, c.net_sharpe) and a.auc_low != c.auc_low

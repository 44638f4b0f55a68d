"""What a retrain is composed of before it runs: the pipeline of the file, or one made of symbols; flags win over both."""

from datetime import UTC, date, datetime

import pytest

from feature_store._errors import Final
from feature_store.store import Store
from flows import retrain
from flows._errors import FlowError
from flows.retrain import chosen_families, compose, parse_budget, workers_of
from flows.settings import load
from tasks.home import Home
from tasks.settings import BudgetSettings
from tests.conftest import make_bars
from tests.flows.parts import sim_home


@pytest.fixture
def home(tmp_path):
    return sim_home(tmp_path / "home")


def composed(home, **asked):
    return compose(load(home), Home(home), **asked)


def stored(home, feed, *symbols):
    for symbol in symbols:
        bars = make_bars(datetime(2024, 3, 4, tzinfo=UTC), 10)
        about = {"origin": "test", "sha256": "", "clock_rule": "utc", "at": datetime(2024, 4, 1, tzinfo=UTC)}
        Store(home / "bars.duckdb").ingest(feed, symbol, "M1", bars, **about)


def test_the_only_pipeline_of_the_file_needs_no_name(home):
    name, pipeline = composed(home)
    assert (name, pipeline.feed, pipeline.timeframe, pipeline.budget.trials) == ("main", "sim", "M15", 2)


def test_flags_win_over_the_environment_and_that_over_the_file(home, monkeypatch):
    monkeypatch.setenv("TRADEWIND_PIPELINES__MAIN__TIMEFRAME", "H4")
    monkeypatch.setenv("TRADEWIND_PIPELINES__MAIN__SEED", "9")
    _, pipeline = composed(home)
    assert (pipeline.timeframe, pipeline.seed, pipeline.symbols) == ("H4", 9, ("EURUSD",))
    _, pipeline = composed(home, timeframe="H1", families="linear, xgboost", start=date(2024, 1, 5), trials=7)
    assert (pipeline.timeframe, pipeline.seed, pipeline.start) == ("H1", 9, date(2024, 1, 5))
    assert pipeline.families == ("linear", "xgboost") and pipeline.budget == BudgetSettings(trials=7)


def test_a_time_budget_alone_ends_by_time_and_with_trials_by_whichever_comes_first(home):
    assert composed(home, minutes=10.0)[1].budget.minutes == 10.0
    assert composed(home, minutes=10.0)[1].budget.trials > 10_000
    assert composed(home, minutes=10.0, trials=5)[1].budget.trials == 5


def test_symbols_make_a_pipeline_of_their_own_named_after_them_on_the_feed_that_has_them(home):
    stored(home, "files", "EURUSD", "GBPUSD")
    name, pipeline = composed(home, symbols="eurusd, GBPUSD", timeframe="M5")
    assert name == "eurusd-gbpusd-m5"
    assert (pipeline.feed, pipeline.symbols, pipeline.timeframe) == ("files", ("EURUSD", "GBPUSD"), "M5")
    assert composed(home, symbols="EURUSD")[1].timeframe == "H1"
    assert composed(home, symbols="EURUSD", pipeline="mine")[0] == "mine"


def test_symbols_that_several_feeds_have_need_the_feed_named(home):
    stored(home, "one", "EURUSD")
    stored(home, "two", "EURUSD")
    with pytest.raises(FlowError, match="feeds one, two all have EURUSD; add --feed"):
        composed(home, symbols="EURUSD")
    assert composed(home, symbols="EURUSD", feed="two")[1].feed == "two"


def test_symbols_that_no_feed_has_all_of_are_answered_with_what_is_stored(home):
    stored(home, "files", "EURUSD")
    with pytest.raises(FlowError, match="no feed has bars of EURUSD, GBPUSD; stored are: files/EURUSD"):
        composed(home, symbols="EURUSD,GBPUSD")


def test_several_pipelines_need_one_named(home):
    with (home / "tradewind.toml").open("a", encoding="utf-8") as file:
        file.write('\n[pipelines.other]\nfeed = "sim"\nsymbols = ["EURUSD"]\n')
    with pytest.raises(FlowError, match=r"which pipeline\? there is: main, other"):
        composed(home)
    assert composed(home, pipeline="other")[0] == "other"


def test_all_families_are_those_of_the_zoo_and_of_the_extensions_folder(home):
    zoo = chosen_families(Home(home), composed(home)[1])
    assert zoo == ["catboost", "lightgbm", "linear", "xgboost"]
    (home / "extensions").mkdir()
    (home / "extensions" / "mine.py").write_text("")
    assert set(chosen_families(Home(home), composed(home)[1])) == {*zoo, "mine"}
    assert chosen_families(Home(home), composed(home, families="xgboost,linear,xgboost")[1]) == ["xgboost", "linear"]


@pytest.mark.parametrize(("text", "minutes"), [("90s", 1.5), ("10m", 10.0), ("2h", 120.0), (" 1.5H ", 90.0), (None, None)])
def test_a_budget_is_a_number_with_its_unit(text, minutes):
    assert parse_budget(text) == minutes


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "0s", "1d", "ten minutes"])
def test_anything_else_is_no_budget(text):
    with pytest.raises(FlowError, match="is not a time; write for example 90s, 10m or 2h"):
        parse_budget(text)


def test_as_many_families_are_trained_side_by_side_as_asked_but_never_more_than_there_are(home):
    _, pipeline = composed(home)
    asked = pipeline.model_copy(update={"budget": BudgetSettings(workers=3)})
    assert workers_of(asked, 8) == 3 and workers_of(asked, 2) == 2 and workers_of(pipeline, 1) == 1


class Submitted:
    """What Prefect hands back for a task: its value, or the error it ended with."""

    def __init__(self, value=None, error=None):
        self.value, self.error = value, error

    def result(self):
        if self.error is not None:
            raise self.error
        return self.value


def test_a_search_that_fails_says_its_own_reason_not_that_the_fit_behind_it_never_began(monkeypatch):
    reason = Final("12 labelled rows are too few to train and judge on")

    class Tune:
        submit = staticmethod(lambda job, name: Submitted(error=reason if name == "linear" else None))

    class Fit:
        submit = staticmethod(
            lambda job, name, tuned: Submitted(name, RuntimeError("Run is in PENDING state") if tuned.error else None)
        )

    monkeypatch.setattr(retrain.train, "tune_family", Tune)
    monkeypatch.setattr(retrain.train, "fit_family", Fit)
    with pytest.raises(Final, match="too few to train"):
        retrain._train(None, ["xgboost", "linear"], 2)
    assert retrain._train(None, ["xgboost", "lightgbm"], 2) == ["xgboost", "lightgbm"]

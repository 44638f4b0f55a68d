"""Settings: who wins, what is refused, and that every refusal is one line that names what to write instead."""

import pytest

from flows._errors import FlowError
from flows.settings import load

TOP = "settings_version = 1\n"
SIM = TOP + '[accounts.demo]\nmode = "sim"\nfeed = "sim"\n'
MAIN = TOP + '[pipelines.main]\nfeed = "sim"\nsymbols = ["EURUSD"]\n'


@pytest.fixture
def home(tmp_path):
    def write(text, encoding="utf-8"):
        (tmp_path / "tradewind.toml").write_text(text, encoding=encoding)
        return tmp_path

    return write


def refusal(home_folder):
    """The one line with which the settings of that home are refused."""
    with pytest.raises(FlowError) as caught:
        load(home_folder)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400
    return line


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    assert load(tmp_path).lock_wait_s == 30.0 and load(tmp_path).accounts == {}


def test_the_file_wins_over_the_default_and_the_environment_over_the_file(home, monkeypatch):
    folder = home(TOP + 'lock_wait_s = 5\n[mlflow]\ntracking_uri = "http://one"\n')
    assert load(folder).lock_wait_s == 5.0 and load(folder).mlflow.tracking_uri == "http://one"
    monkeypatch.setenv("TRADEWIND_LOCK_WAIT_S", "7")
    monkeypatch.setenv("TRADEWIND_MLFLOW__TRACKING_URI", "http://two")
    assert load(folder).lock_wait_s == 7.0 and load(folder).mlflow.tracking_uri == "http://two"


def test_the_environment_changes_one_key_of_a_table_and_leaves_the_others(home, monkeypatch):
    folder = home(SIM + "start_balance = 500.0\nleverage = 30.0\n")
    monkeypatch.setenv("TRADEWIND_ACCOUNTS__DEMO__LEVERAGE", "50")
    account = load(folder).account("demo")
    assert (account.leverage, account.start_balance, account.feed) == (50.0, 500.0, "sim")


def test_a_file_that_a_windows_editor_began_with_a_byte_order_mark_is_read(home):
    assert load(home(TOP + "lock_wait_s = 5\n", encoding="utf-8-sig")).lock_wait_s == 5.0


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        (TOP + "lock_wait = 3\n", "lock_wait", "lock_wait_s"),
        (TOP + "[pipeline.main]\nfeed = 'x'\n", "pipeline", "pipelines"),
        (TOP + "[feeds.sim]\nclok = 'utc'\n", "feeds.sim.clok", "clock"),
        (TOP + "[feeds.market]\nclok = 'utc'\n", "feeds.market.clok", "clock"),
        (
            TOP + "[feeds.a.market]\nstart=2024-01-01\nhistory_days=20\ndays=30\nseed=1\nedg=1\n",
            "feeds.a.market.edg",
            "edge",
        ),
        (MAIN + "timefram = 'H1'\n", "pipelines.main.timefram", "timeframe"),
        (MAIN + "[pipelines.main.budget]\ntrial = 5\n", "pipelines.main.budget.trial", "trials"),
        (MAIN + "[pipelines.main.label]\nhorizon = 5\n", "pipelines.main.label.horizon", "horizon_bars"),
        (SIM + "[accounts.demo.risk]\ndaily_loss = 0.01\n", "accounts.demo.risk.daily_loss", "daily_loss_fraction"),
        (SIM + "lines = [{pipeline = 'main', symbl = 'EURUSD'}]\n", "accounts.demo.lines.0.symbl", "symbol"),
        (TOP + "[mlflow]\ntracking_url = 'x'\n", "mlflow.tracking_url", "tracking_uri"),
    ],
)
def test_an_unknown_key_is_refused_at_any_depth_and_the_nearest_known_one_named(home, text, unknown, nearest):
    line = refusal(home(text))
    assert f"unknown key {unknown!r}" in line and f"nearest known one is {nearest!r}" in line


def test_an_unknown_variable_is_refused_and_the_nearest_known_one_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEWIND_LOCKWAIT_S", "3")
    assert "TRADEWIND_LOCK_WAIT_S" in refusal(tmp_path)
    monkeypatch.delenv("TRADEWIND_LOCKWAIT_S")
    monkeypatch.setenv("TRADEWIND_MLFLOW__TRACKING_URL", "x")
    assert "unknown key 'mlflow.tracking_url'" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["TRADEWIND_HOME", "TRADEWIND_VENV", "TRADEWIND_CHECKOUT"])
def test_variables_that_are_no_settings_but_ours_are_let_through(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, str(tmp_path))
    assert load(tmp_path).feeds == {}


def test_a_wrong_value_from_the_environment_is_laid_at_its_door(home, monkeypatch):
    monkeypatch.setenv("TRADEWIND_LOCK_WAIT_S", "soon")
    line = refusal(home(TOP))
    assert line.startswith("TRADEWIND_LOCK_WAIT_S: ") and "'soon'" in line
    monkeypatch.delenv("TRADEWIND_LOCK_WAIT_S")
    monkeypatch.setenv("TRADEWIND_FEEDS", "{half")
    assert refusal(home(TOP)).startswith("environment: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("settings_version = 1\n[feeds\n", "not valid TOML"),
        ("settings_version = 2\n", "settings_version 2 is newer"),
        ("lock_wait_s = 3\n", "settings_version is missing; write settings_version = 1"),
        (TOP + "lock_wait_s = 'soon'\n", "lock_wait_s: Input should be a valid number"),
        (TOP + "feeds = 3\n", "feeds: Input should be a valid dictionary (got 3)"),
        (TOP + "[feeds.sim]\nsource = 'internet'\n", "feeds.sim.source: Input should be 'files', 'terminal' or 'generator'"),
        (TOP + "[feeds.sim]\nclock = 'mars'\n", "clock rule 'mars' is not known"),
        (MAIN + "timeframe = 'H7'\n", "timeframe 'H7' is not known"),
        (MAIN + "start = 2024-02-01\nend = 2024-01-01\n", "pipelines.main: start 2024-02-01 is not before end 2024-01-01"),
        (MAIN + "[pipelines.main.gate]\nconfidence = 0.5\n", "pipelines.main.gate.confidence"),
        (TOP + "[accounts.demo]\nmode = 'sim'\n", "accounts.demo.feed: Field required"),
        (TOP + "[accounts.demo]\nmode = 'live'\nfeed = 'b'\n", "needs login and server"),
        (SIM + "[accounts.demo.risk]\ndaily_loss_fraction = 2\n", "accounts.demo.risk.daily_loss_fraction"),
        (SIM + "[accounts.demo.risk]\nthreshold = nan\n", "accounts.demo.risk.threshold"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file_and_the_place(home, text, says):
    folder = home(text)
    line = refusal(folder)
    assert str(folder / "tradewind.toml") in line and says in line


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "tradewind.toml").write_bytes(b"\xff\xfe\x00nonsense\x80")
    assert "not valid TOML" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["account", "pipeline"])
def test_a_name_that_is_not_in_the_file_is_answered_with_those_that_are(home, kind):
    settings = load(home(SIM + MAIN.removeprefix(TOP)))
    with pytest.raises(FlowError, match=rf"{kind} 'other' is not in tradewind.toml; there is: (demo|main)"):
        getattr(settings, kind)("other")

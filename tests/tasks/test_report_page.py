"""The page: one file that needs nothing else, and says what the report says."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tasks.report_page import AccountPage, write_page

ACCOUNT = AccountPage(
    name="demo",
    mode="simulated",
    currency="USD",
    start_balance=10_000.0,
    end_balance=10_123.4,
    costs={"gross": 200.0, "spread": -50.25, "commission": -21.0, "swap": -5.35, "net": 123.4},
    equity=[(1_700_000_000.0 + 3600 * i, 10_000.0 + i) for i in range(50)],
    trades=[{"opened": "2024-01-02 03:00", "line": "demo/EURUSD", "side": "long", "net": 12.34567}] * 60,
    decisions={"no side reaches its threshold": 200, "open": 31},
    latency_ms=0.73,
)


class Parts(HTMLParser):
    """What a page loads, and its text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.words, self.scripts, self._in = [], [], [], None
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self._in = tag if tag in ("script", "style") else None
        if tag in ("link", "iframe", "img", "base", "object", "embed"):
            self.loaded.append((tag, attrs))
        self.loaded += [(tag, name, value) for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        if self._in == "script":
            self.scripts.append(data)
        elif self._in is None:
            self.words.append(data)


@pytest.fixture
def page(report, tmp_path):
    def make(changed=report, **changes):
        path = write_page(tmp_path / "reports" / "page.html", changed, **changes)
        return Parts(path.read_text(encoding="utf-8"))

    return make


def test_the_page_loads_nothing_from_anywhere(page):
    found = page(account=ACCOUNT, quality=["EURUSD M1: 90,000 bars"])
    assert found.loaded == []
    ours = [s for s in found.scripts if len(s) < 1_000_000]
    assert len(ours) >= 4 and not any(re.search(r"https?://(?!www\.w3\.org)", s) for s in ours)
    assert sum(len(s) >= 1_000_000 for s in found.scripts) == 1, "plotly itself stands in the page once"


def test_families_verdict_and_numbers_of_the_report_stand_on_it(page, report):
    text = page().text
    assert "Pipeline demo" in text and report.verdict["summary"] in text
    for row in report.rows():
        assert row["family"] in text and row["reason"] in text
        for value in (f"{row['auc']:.3f}", f"{row['auc_low']:.3f}", f"{row['skill']:+.2%}", f"{row['holdout_auc']:.3f}"):
            assert value in text
    for words in ("simulated market", "broker costs", "feed demo", "EURUSD, USDJPY H1", f"snapshot {report.snapshot}"):
        assert words in text
    assert "out of sample" in text.lower() and "holdout" in text


def test_the_banner_names_the_champion_or_says_proudly_that_there_is_none(page, report):
    assert "No edge: nothing promoted" in page(replace(report, promoted=None)).text
    promoted = page(replace(report, promoted="lightgbm"))
    assert "Champion: lightgbm" in promoted.text and "No edge: nothing promoted" not in promoted.text


def test_the_accounts_result_stands_with_every_cost(page):
    text = page(account=ACCOUNT).text
    assert "Account demo" in text and "10,000.00 to 10,123.40 USD, 60 trades" in text
    for label, value in (("spread paid", "-50.25"), ("commission", "-21.00"), ("swap", "-5.35"), ("net", "+123.40")):
        assert f"{label} {value}" in text, label
    assert "price moves, before costs +200.00" in text and "0.7 ms" in text
    assert "no side reaches its threshold 200" in text
    assert "The last 40 of 60 trades" in text and text.count("demo/EURUSD") == 40
    assert "Account" not in page().text, "nothing was traded: no empty section"


def test_what_is_undefined_shows_as_a_dash_and_what_is_foreign_as_text(page, report):
    first, second = report.families
    odd = replace(first, oos=replace(first.oos, net_sharpe=float("nan"), auc=float("nan")))
    found = page(replace(report, families=[odd, second], pipeline="<script>alert(1)</script>"), quality=["a <b> & c"])
    assert "nan" not in found.text.lower() and " - " in found.text
    assert "<script>alert(1)</script>" in found.text and "a <b> & c" in found.text


def test_a_family_without_trades_or_importance_has_a_page_too(page, report):
    bare = [replace(f, importance={}, equity=[], reliability=[]) for f in report.families]
    assert "Leaderboard" in page(replace(report, families=bare)).text

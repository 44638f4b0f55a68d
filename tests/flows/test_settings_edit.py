"""Symbols written into tradewind.toml: comments stay, everything else means what it meant, or nothing is written."""

import tomllib

import pytest

from flows._errors import FlowError
from flows.settings_edit import write_symbols

TABLE = """# my broker
settings_version = 1

[feeds.icm] # the server
source = "terminal"
clock = "ny+7"

[feeds.icm.symbols]
EURUSD = "EURUSD.r"  # raw account
"GBPUSD" = 'GBPUSD'

# trades
[pipelines.main]
feed = "icm"
symbols = ["EURUSD"]
"""
INLINE = """settings_version = 1
[feeds.icm]
symbols = { EURUSD = "EURUSD" } # one
clock = "eet"
[feeds.other]
symbols = { EURUSD = "x" }
"""
BARE = """settings_version = 1
[feeds."icm"]
source = "terminal"
# about pipelines
[pipelines.main]
feed = "icm"
"""
NEW = {"EURUSD": "EURUSDm", "XAUUSD": "GOLD#"}


@pytest.mark.parametrize("text", [TABLE, INLINE, BARE, BARE.split("# about")[0].rstrip("\n"), TABLE.replace("\n", "\r\n")])
def test_one_table_changes_and_every_comment_and_other_value_stays(tmp_path, text):
    path = tmp_path / "tradewind.toml"
    path.write_bytes(text.encode())
    before = tomllib.loads(text)
    write_symbols(path, "icm", NEW)
    written = path.read_bytes().decode()
    after = tomllib.loads(written)
    assert after["feeds"]["icm"].pop("symbols") == {**before["feeds"]["icm"].pop("symbols", {}), **NEW}
    assert after == before
    assert [
        c for c in ("# my broker", "# the server", "# raw account", "# trades", "# one", "# about pipelines") if c in text
    ] == [c for c in ("# my broker", "# the server", "# raw account", "# trades", "# one", "# about pipelines") if c in written]
    assert ("\r\n" in written) == ("\r\n" in text) and list(tmp_path.iterdir()) == [path]


def test_new_names_stand_in_the_table_before_the_comment_of_the_next_one(tmp_path):
    path = tmp_path / "tradewind.toml"
    path.write_text(TABLE, encoding="utf-8")
    write_symbols(path, "icm", NEW)
    assert """EURUSD = "EURUSDm"  # raw account
"GBPUSD" = 'GBPUSD'
XAUUSD = "GOLD#"

# trades
""" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("settings_version = 1\n", r"has no table \[feeds.icm\]; add it"),
        ("settings_version = 1\nfeeds = { icm = { clock = 'utc' } }\n", 'not changed here; add by hand: EURUSD = "EURUSDm"'),
        ("settings_version = 1\n[feeds]\nicm.symbols.EURUSD = 'a'\n", "add by hand"),
        ("settings_version =\n", "not valid TOML"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_as_it_was_and_told(tmp_path, text, words):
    path = tmp_path / "tradewind.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FlowError, match=words):
        write_symbols(path, "icm", NEW)
    assert path.read_text(encoding="utf-8") == text


def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FlowError, match="does not exist"):
        write_symbols(tmp_path / "tradewind.toml", "icm", NEW)
    assert not list(tmp_path.iterdir())

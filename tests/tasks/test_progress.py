"""Progress reaches whoever listens, for as long as they listen."""

import pytest

from tasks import progress


def test_a_listener_hears_what_is_told_inside_its_block_and_nothing_after():
    heard = []
    progress.tell("ingest", 0, 3)
    with progress.listening(lambda *message: heard.append(message)):
        progress.tell("ingest", 1, 3, "EURUSD")
        with progress.listening(lambda *message: heard.append("inner")):
            progress.tell("ingest", 2, 3)
    progress.tell("ingest", 3, 3)
    assert heard == [("ingest", 1, 3, "EURUSD"), ("ingest", 2, 3, ""), "inner"]


def test_a_listener_is_gone_after_an_error_too():
    heard = []
    with pytest.raises(RuntimeError, match="work failed"), progress.listening(lambda *message: heard.append(message)):
        raise RuntimeError("work failed")
    progress.tell("ingest", 1, 1)
    assert heard == []

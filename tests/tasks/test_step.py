"""A step is a plain function under a decorator, called by hand as `.fn`; outside a run it publishes nothing."""

import pytest

from tasks import artifacts
from tasks._errors import Final
from tasks._step import step


@step("halve {number}")
def halve(number: int) -> int:
    """Half of an even number."""
    if number % 2:
        raise Final(f"{number} is odd; give an even number")
    return number // 2


def test_a_step_called_by_hand_returns_what_its_function_returns_every_time():
    calls = []
    noted = step("note {value}")(lambda value: calls.append(value) or len(calls))
    assert halve.fn(4) == 2 and halve.fn(number=6) == 3
    assert [noted.fn("same"), noted.fn("same")] == [1, 2], "no answer comes from a cache"


def test_an_error_of_a_step_arrives_as_it_was_raised():
    with pytest.raises(Final, match="3 is odd; give an even number"):
        halve.fn(3)


def test_a_step_is_named_by_its_arguments_and_keeps_its_docstring():
    assert halve.task_run_name == "halve {number}" and halve.fn.__doc__ == "Half of an even number."


def test_pages_are_published_in_runs_only(monkeypatch):
    published = []
    monkeypatch.setattr(artifacts, "create_markdown_artifact", lambda **page: published.append(page))
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda **page: published.append(page))
    artifacts.publish_markdown("verdict", "no edge", "Verdict")
    artifacts.publish_table("leaderboard", [{"family": "linear"}], "Families")
    assert published == []

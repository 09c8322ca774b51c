"""Context variables that several tools change: each change is recorded once, with its own call."""

from typing import Any

from services.orchestrator.agents.session.variable_tracking import VariableDiff, VariableTracker

NOTHING = VariableDiff({}, [])


def test_a_change_is_attributed_to_the_call_that_made_it() -> None:
    variables: dict[str, Any] = {"sources": []}
    tracker = VariableTracker(variables, {})
    variables["sources"].append("outside")
    tracker.attribute("look")
    assert tracker.take("failed") == NOTHING
    assert tracker.take("look") == VariableDiff({"sources": ["outside"]}, [])
    assert tracker.take("look") == NOTHING


def test_changes_before_and_after_a_question_are_merged() -> None:
    variables: dict[str, Any] = {"tone": "dry"}
    tracker = VariableTracker(variables, {})
    variables.update(tone="wet", length=1)
    tracker.attribute("ask")
    del variables["tone"]
    variables["length"] = 2
    tracker.attribute("ask")
    assert tracker.take("ask") == VariableDiff({"length": 2}, ["tone"])


def test_a_variable_removed_and_set_again_is_a_change() -> None:
    variables: dict[str, Any] = {"tone": "dry"}
    tracker = VariableTracker(variables, {})
    del variables["tone"]
    tracker.attribute("one")
    variables["tone"] = "wet"
    tracker.attribute("one")
    assert tracker.take("one") == VariableDiff({"tone": "wet"}, [])


def test_an_older_change_never_undoes_a_newer_one_taken_before() -> None:
    variables: dict[str, Any] = {}
    tracker = VariableTracker(variables, {})
    variables.update(n=1, first=True)
    tracker.attribute("slow")
    variables["n"] = 2
    tracker.attribute("quick")
    assert tracker.take("quick") == VariableDiff({"n": 2}, [])
    assert tracker.take("slow") == VariableDiff({"first": True}, [])


def test_variables_set_in_the_log_are_merged_and_are_no_change() -> None:
    variables: dict[str, Any] = {"tone": "dry", "old": 1}
    logged = dict(variables)
    tracker = VariableTracker(variables, logged)
    tracker.merge_logged({"tone": "wet", "new": [2]})
    assert variables == {"tone": "wet", "new": [2]}
    tracker.attribute("one")
    assert tracker.take("one") == NOTHING


def test_a_calls_own_change_is_not_overwritten_by_the_log() -> None:
    variables: dict[str, Any] = {"mine": 1, "theirs": 1}
    tracker = VariableTracker(variables, dict(variables))
    variables["mine"] = 2
    tracker.merge_logged({"mine": 3, "theirs": 4})  # not settled yet
    assert variables == {"mine": 2, "theirs": 4}
    tracker.attribute("one")
    tracker.merge_logged({"mine": 3, "theirs": 5})  # settled, and on its way to the log
    assert variables == {"mine": 2, "theirs": 5}
    assert tracker.take("one") == VariableDiff({"mine": 2}, [])

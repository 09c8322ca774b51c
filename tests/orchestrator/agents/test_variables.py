"""Context variables while several tools change them: every change is kept once, with its own call."""

from typing import Any

from services.orchestrator.agents.variables import Changes, Difference

NOTHING = Difference({}, [])


def test_a_change_is_kept_with_the_call_that_made_it() -> None:
    variables: dict[str, Any] = {"sources": []}
    changes = Changes(variables, {})
    variables["sources"].append("outside")
    changes.settle("look")
    assert changes.take("failed") == NOTHING
    assert changes.take("look") == Difference({"sources": ["outside"]}, [])
    assert changes.take("look") == NOTHING


def test_what_a_call_did_before_it_asked_and_after_is_one_change() -> None:
    variables: dict[str, Any] = {"tone": "dry"}
    changes = Changes(variables, {})
    variables.update(tone="wet", length=1)
    changes.settle("ask")
    del variables["tone"]
    variables["length"] = 2
    changes.settle("ask")
    assert changes.take("ask") == Difference({"length": 2}, ["tone"])


def test_a_variable_removed_and_set_again_is_changed() -> None:
    variables: dict[str, Any] = {"tone": "dry"}
    changes = Changes(variables, {})
    del variables["tone"]
    changes.settle("one")
    variables["tone"] = "wet"
    changes.settle("one")
    assert changes.take("one") == Difference({"tone": "wet"}, [])


def test_an_older_change_never_undoes_a_newer_one_that_is_kept_already() -> None:
    variables: dict[str, Any] = {}
    changes = Changes(variables, {})
    variables.update(n=1, first=True)
    changes.settle("slow")
    variables["n"] = 2
    changes.settle("quick")
    assert changes.take("quick") == Difference({"n": 2}, [])
    assert changes.take("slow") == Difference({"first": True}, [])


def test_what_others_set_in_the_log_is_learnt_and_not_told_again() -> None:
    variables: dict[str, Any] = {"tone": "dry", "old": 1}
    logged = dict(variables)
    changes = Changes(variables, logged)
    changes.take_in({"tone": "wet", "new": [2]})
    assert variables == {"tone": "wet", "new": [2]}
    changes.settle("one")
    assert changes.take("one") == NOTHING


def test_what_a_call_has_changed_stays_as_it_is_until_the_log_says_so_too() -> None:
    variables: dict[str, Any] = {"mine": 1, "theirs": 1}
    changes = Changes(variables, dict(variables))
    variables["mine"] = 2
    changes.take_in({"mine": 3, "theirs": 4})  # not settled yet
    assert variables == {"mine": 2, "theirs": 4}
    changes.settle("one")
    changes.take_in({"mine": 3, "theirs": 5})  # settled, and on its way to the log
    assert variables == {"mine": 2, "theirs": 5}
    assert changes.take("one") == Difference({"mine": 2}, [])

"""The guarantees of the ownership protocol, in every state that its model can reach."""

from functools import cache
from typing import NamedTuple, get_args

import pytest

from tests.ownership_model.explorer import PROGRESS
from tests.ownership_model.model import (
    EFFECT_ONCE,
    INVARIANT,
    ONE_RUNNER,
    SETUPS,
    Broken,
    Decision,
    Fault,
    check,
)

BROKEN: tuple[tuple[Broken, str, str], ...] = (
    ("acknowledge before quiet", "one message, many deliveries", INVARIANT),
    ("owner not cleared", "a message beside the run", INVARIANT),
    ("heartbeat after the fence", "a consumer that loses its state", PROGRESS),
    ("no claim on takeover", "one message, many deliveries", ONE_RUNNER),
    ("no claim on takeover", "a standby that returns messages", ONE_RUNNER),
    ("claim without looking at the attempt", "one message, many deliveries", ONE_RUNNER),
    ("owner by command id only", "a command sent twice", ONE_RUNNER),
    ("give-up without failing the chat", "an answer beside the run", INVARIANT),
    ("acknowledge when fenced", "one message, many deliveries", INVARIANT),
    ("give-up leaves no mark", "an answer beside the run", INVARIANT),
    ("acknowledge a command that came too early", "a message beside the run", EFFECT_ONCE),
    ("acknowledge a command that came too early", "a replica that is behind", EFFECT_ONCE),
    ("acknowledge a command that came too early", "a resume and a replica behind", EFFECT_ONCE),
    ("runner without process", "a consumer that loses its state", ONE_RUNNER),
    ("runner without process", "a message lost", ONE_RUNNER),
    ("claim twice", "a consumer that loses its state", ONE_RUNNER),
    ("command not looked for in the log", "a message and a cancel", EFFECT_ONCE),
)
"""A mutation of the protocol, the setup that shows it, and the rule that it breaks."""


class Found(NamedTuple):
    """The result of exploring the correct protocol, without its states, which need too much memory."""

    broken: str
    history: tuple[str, ...]
    decisions: frozenset[Decision]


@cache
def correct(title: str) -> Found:
    visited, broken, history = check(SETUPS[title])
    return Found(broken, history, frozenset(t.decision for state in visited for t in state.tasks))


@pytest.mark.parametrize("title", SETUPS)
def test_every_rule_holds_in_every_state(title: str) -> None:
    found = correct(title)
    assert (found.broken, found.history) == ("", ())


@pytest.mark.parametrize(("broken", "title", "rule"), BROKEN)
def test_a_broken_rule_is_found(broken: Broken, title: str, rule: str) -> None:
    found = check(SETUPS[title]._replace(broken=broken))
    assert (correct(title).broken, found.broken) == ("", rule)


def test_a_violation_is_reported_as_the_shortest_history() -> None:
    setup = SETUPS["one message, many deliveries"]
    assert check(setup._replace(broken="acknowledge before quiet")).history == (
        "message 0 (start) is delivered, attempt 1",
        "message 0, attempt 1: read",
        "message 0, attempt 1: append command",
        "message 0, attempt 1: acknowledge",
    )


def test_every_rule_is_broken_by_some_mutation() -> None:
    assert {broken for broken, _, _ in BROKEN} == set(get_args(Broken))


def test_every_fault_happens_and_every_decision_is_taken() -> None:
    faults = {fault for setup in SETUPS.values() for fault in setup.faults}
    decided = frozenset[Decision]().union(*(correct(title).decisions for title in SETUPS))
    assert faults == set(get_args(Fault))
    assert decided == {*get_args(Decision)} - {"heartbeat only"}

"""`mozaiks effects`: what a chat has done to the world, as lines of text."""

from contracts.events.human import Approval, Doubt
from services.orchestrator.cli.effects import as_lines, chat_effects
from tests.contracts.test_effects import (
    APPROVAL,
    DOUBT,
    answered,
    asked,
    called,
    dispatched,
    facts_of,
    returned,
)


def test_each_effect_has_its_arguments_key_and_history() -> None:
    facts = facts_of(
        called('{"cents": 5, "card_token": "hush"}'),
        asked(APPROVAL, approval=Approval(tool="charge", digest="ab")),
        answered(APPROVAL, "Approve", approved=True),
        dispatched(approval=APPROVAL),
        asked(DOUBT, doubt=Doubt(tool="charge", digest="ab", attempt=1)),
        answered(DOUBT, "It happened: 17"),
        returned(resolved_by="user", receipt={"charge": 17}),
    )
    first, *lines = as_lines(chat_effects(facts))
    assert first.endswith("charge (once): ok")
    assert [line.strip() for line in lines] == [
        'arguments  {"cents": 5, "card_token": "[redacted]"}',
        "key        acme:1:c1",
        "approved   by bob",
        "in doubt   attempt 1: bob: It happened: 17",
        "resolved   by user",
        'receipt    {"charge": 17}',
    ]


def test_a_chat_that_called_nothing_has_no_effects() -> None:
    assert chat_effects(()) == []
    assert list(as_lines(chat_effects(facts_of()))) == []

"""The effect ledger: one entry for each call that may have changed something, with its history."""

from typing import Any

import pytest

from contracts.codec import Fact
from contracts.effects import CallEffect, effects_of, record_of, redacted
from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.human import Approval, Doubt, HumanAnswered, HumanAsked
from contracts.events.parts import ToolCall
from contracts.events.turn import ModelResponded, ToolDispatched, ToolReturned
from contracts.ids import AgentName, QuestionId, UserId
from contracts.subjects import doubt_question, question
from tests.story import ANA, KEY, given

CLERK = AgentName("Clerk")
APPROVAL, DOUBT = question(KEY, 1, "c1", 0), doubt_question(KEY, 1, "c1", 1, 0)


def called(arguments: str = '{"cents": 5}') -> ModelResponded:
    call = ToolCall(id="c1", name="charge", arguments=arguments)
    return ModelResponded(turn=1, call=0, agent=CLERK, tool_calls=[call])


def dispatched(attempt: int = 1, **more: Any) -> ToolDispatched:
    fields: dict[str, Any] = {
        "turn": 1,
        "call": 0,
        "agent": CLERK,
        "tool_call_id": "c1",
        "name": "charge",
        "idempotency_key": "acme:1:c1",
        "arguments_digest": "ab",
        "effect": "once",
        "attempt": attempt,
    }
    return ToolDispatched(**{**fields, **more})


def returned(status: Any = "ok", **more: Any) -> ToolReturned:
    return ToolReturned(
        turn=1, call=0, agent=CLERK, tool_call_id="c1", name="charge", status=status, **more
    )


def asked(question_id: QuestionId, **more: Any) -> HumanAsked:
    return HumanAsked(
        question_id=question_id,
        turn=1,
        agent=CLERK,
        tool_call_id="c1",
        ordinal=0,
        prompt="?",
        **more,
    )


def answered(question_id: QuestionId, text: str, **more: Any) -> HumanAnswered:
    return HumanAnswered(question_id=question_id, user_id=UserId("bob"), text=text, **more)


def facts_of(*events: Event) -> tuple[Fact, ...]:
    return given(ChatStarted(user_id=ANA, seed=7), *events).facts


def ledger(*events: Event) -> list[CallEffect]:
    records = [record_of(fact.envelope, fact.event) for fact in facts_of(*events)]
    return effects_of([one for one in records if one is not None], KEY.chat)


def test_a_call_that_returned_has_its_arguments_outcome_and_receipt() -> None:
    (effect,) = ledger(called(), dispatched(), returned(receipt={"charge": 17}))
    assert (effect.tool, effect.effect, effect.outcome) == ("charge", "once", "ok")
    assert effect.arguments == '{"cents": 5}'
    assert effect.idempotency_key == "acme:1:c1"
    assert effect.receipt == {"charge": 17}
    assert [one.reason for one in effect.attempts] == ["first"]
    assert effect.ended_at is not None


def test_a_call_in_doubt_has_the_question_and_its_answer() -> None:
    doubt = asked(DOUBT, doubt=Doubt(tool="charge", digest="ab", attempt=1))
    (open_,) = ledger(called(), dispatched(), doubt)
    assert open_.outcome == "in_doubt"
    again = dispatched(2, reason="answer", approval=DOUBT)
    (effect,) = ledger(
        called(), dispatched(), doubt, answered(DOUBT, "Do it again"), again, returned()
    )
    assert effect.outcome == "ok"
    assert [(one.number, one.reason) for one in effect.attempts] == [(1, "first"), (2, "answer")]
    (one,) = effect.doubts
    assert (one.attempt, one.answer, one.answered_by) == (1, "Do it again", "bob")
    assert effect.approval is not None
    assert effect.approval.answered_by == "bob"


def test_an_approved_call_names_who_approved_it() -> None:
    question_ = asked(APPROVAL, approval=Approval(tool="charge", digest="ab"))
    (effect,) = ledger(
        called(),
        question_,
        answered(APPROVAL, "Approve", approved=True),
        dispatched(approval=APPROVAL),
        returned("error", error="no luck"),
    )
    assert effect.approval is not None
    assert (effect.approval.question_id, effect.approval.answered_by) == (APPROVAL, "bob")
    assert (effect.outcome, effect.error) == ("error", "no luck")


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ((dispatched(),), "open"),
        ((dispatched(), returned("unknown", resolved_by="policy")), "unknown"),
        ((dispatched(), returned("ok", resolved_by="check")), "ok"),
    ],
    ids=["open", "unknown", "check"],
)
def test_the_outcome_is_what_is_known(events: tuple[Event, ...], outcome: str) -> None:
    (effect,) = ledger(called(), *events)
    assert effect.outcome == outcome


def test_calls_that_only_read_or_were_never_made_are_no_effects() -> None:
    assert ledger(called(), dispatched(effect="read"), returned()) == []
    assert ledger(called(), returned("refused")) == []


def test_an_ordinary_answer_is_in_no_record() -> None:
    facts = facts_of(asked(APPROVAL), answered(APPROVAL, "my secret wish"))
    assert [record_of(one.envelope, one.event) for one in facts] == [None, None, None]


@pytest.mark.parametrize(
    "name",
    ["password", "api_key", "apiKey", "X-Api-Key", "access_token", "userPassword", "Authorization"],
)
def test_what_is_named_like_a_secret_is_redacted_at_any_depth(name: str) -> None:
    text = redacted(f'{{"card": {{"{name}": "hush", "list": [{{"{name}": "hush"}}]}}}}')
    assert "hush" not in text
    assert text.count("[redacted]") == 2


def test_what_looks_like_a_secret_is_redacted_and_ordinary_words_stay() -> None:
    key = "sk-" + "a1" * 12
    assert redacted(f'{{"note": "use {key}"}}') == '{"note": "use [redacted]"}'
    assert redacted(f"not json {key}") == "not json [redacted]"
    kept = '{"monkey": "banana", "tokens": 3, "keyboard": "qwertz", "compass": 1}'
    assert redacted(kept) == kept
    assert len(redacted('"' + "x" * 9_000 + '"')) == 4_001

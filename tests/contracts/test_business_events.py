"""Milestones: which events are some, that each is the same however often it is derived, and what it holds."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

import contracts
from contracts.business_events import milestone_of
from contracts.codec import decode, open_event
from contracts.event_log import read_event
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.turn import (
    SELECTOR,
    USER,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
)
from contracts.ids import AgentName, UserId
from contracts.schema import FOLDER

HERE = Path(contracts.__path__[0]) / "examples"
EXAMPLES = sorted(HERE.glob("*.v[0-9]*.json"))
ENVELOPE = decode((HERE / "chat.started.v1.json").read_bytes())
AGENT = AgentName("Clerk")


def derived(event: Event) -> tuple[str, str, dict[str, object]] | None:
    found = milestone_of(ENVELOPE, event)
    if found is None:
        return None
    return found.body.log_event_type, found.body.level, found.body.metadata


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            ChatCompleted(reason="terminate", turns=2),
            ("WORKFLOW_COMPLETED", "info", {"reason": "terminate", "turns": 2}),
        ),
        (
            ChatFailed(code="MODEL_EMPTY", message="a text"),
            ("WORKFLOW_FAILED", "error", {"code": "MODEL_EMPTY"}),
        ),
        (ChatCancelled(user_id=UserId("ann"), reason="a text"), ("WORKFLOW_CANCELLED", "info", {})),
        (
            TurnCompleted(turn=2, agent=AGENT, text="a text"),
            ("AGENT_TURN_COMPLETED", "info", {"agent": "Clerk", "turn": 2}),
        ),
        (
            TurnFailed(turn=2, agent=AGENT, code="X", message="a text"),
            ("AGENT_TURN_FAILED", "error", {"agent": "Clerk", "turn": 2, "code": "X"}),
        ),
        (SpeakerSelected(turn=1, agent=USER, by="after_work"), None),
        (SpeakerSelected(turn=1, agent=SELECTOR, by="auto"), None),
    ],
)
def test_what_becomes_of_a_chat_and_of_a_turn_is_a_milestone(
    event: Event, expected: tuple[str, str, dict[str, object]] | None
) -> None:
    assert derived(event) == expected


@pytest.mark.parametrize("status", ["error", "not_found", "refused", "unknown"])
def test_a_tool_call_that_did_not_succeed_is_an_error(status: str) -> None:
    event = ToolReturned.model_validate(
        {"turn": 1, "call": 0, "agent": AGENT, "tool_call_id": "c", "name": "pay", "status": status}
    )
    found = derived(event)
    assert found is not None
    assert found[:2] == ("TOOL_CALL_FAILED", "error")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_a_milestone_meets_its_schema_and_has_the_same_id_each_time(example: Path) -> None:
    envelope = decode(example.read_bytes())
    event = open_event(envelope)
    found = milestone_of(envelope, event)
    if found is None:
        return
    schema = json.loads((FOLDER / "business" / "RuntimeBusinessEvent.json").read_text())
    document = json.loads(found.model_dump_json())
    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    assert milestone_of(envelope, event) == found
    assert found.id.startswith(f"{envelope.event_id}.")
    assert found.headers["ce-id"] == found.id


def test_a_chat_is_told_without_its_texts() -> None:
    messages = json.loads((HERE / "messages" / "a_chat.json").read_text())
    lines = [line for one in messages for line in one["data"].encode().split(b"\n")]
    stored = [read_event(line) for line in lines]
    milestones = [one for each in stored if (one := milestone_of(each.envelope, each.event))]
    assert milestones[0].body.log_event_type == "WORKFLOW_STARTED"
    told = "".join(one.model_dump_json() for one in milestones)
    texts = [each.event.text for each in stored if isinstance(each.event, TurnCompleted)]
    assert texts
    assert not [text for text in texts if text and text in told]


def test_an_event_of_a_newer_release_is_no_milestone() -> None:
    assert milestone_of(ENVELOPE, None) is None

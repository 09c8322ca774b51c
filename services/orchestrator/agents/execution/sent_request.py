"""What was sent to a model, reconstructed from a chat's log and proven by the recorded digest."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from contracts.codec import Fact
from contracts.events.parts import NativeAnswer, text_of
from contracts.events.turn import SELECTOR, ModelRequested, RequestOptions
from contracts.ids import AgentName, Seq
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.domain.agent_conversation import (
    AgentMessage,
    Message,
    UserMessage,
    conversation_for,
    processed_conversation,
    selector_conversation,
    to_ag2,
    turn_messages,
)
from services.orchestrator.domain.conversation_changes import OtherConversationError
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState
from services.orchestrator.domain.turn import Turn
from services.orchestrator.workflows.spec import Workflow


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One model request: `seq` is its event, `messages` are in strict AG2 format.

    `native` are the forms in which providers gave the answers among them, by the number of the
    message. The provider's own API gets such an answer back in this form, others the message alone.
    `options` are the form and the limit of the answer, None where nothing was asked for.

    `is_exact`: these are the prompt and the messages whose digest the event has. They are not where
    the workflow's version is not available, or the chat was recorded by another release.
    """

    seq: Seq
    turn: int
    call: int
    agent: AgentName
    prompt: tuple[str, ...]
    messages: tuple[dict[str, Any], ...]
    is_exact: bool
    native: Mapping[int, NativeAnswer]
    options: RequestOptions | None = None


def sent_requests(
    facts: Iterable[Fact], workflow: Workflow | None, seq: Seq | None = None
) -> Iterator[SentRequest]:
    """Every model request of a chat, in order, or only that of the event `seq`.

    Each costs as much as its conversation is long: all of a long chat take minutes.
    """
    state = ChatState()
    for fact in facts:
        state = evolve(state, fact)
        event = fact.event
        if isinstance(event, ModelRequested) and seq in (None, fact.envelope.seq):
            yield _request(event, state, workflow, fact.envelope.seq)


def _request(
    event: ModelRequested, state: ChatState, workflow: Workflow | None, seq: Seq
) -> SentRequest:
    assert state.open_turn is not None  # noqa: S101  a request belongs to the open turn
    messages = _messages(state, state.open_turn, workflow)
    digest = codec.digest(event.prompt, codec.events_of(messages))
    return SentRequest(
        seq=seq,
        turn=event.turn,
        call=event.call,
        agent=event.agent,
        prompt=tuple(event.prompt),
        messages=tuple(to_ag2(messages)),
        is_exact=digest == event.digest,
        native=_native(messages),
        options=event.options,
    )


def _native(messages: Iterable[Message]) -> dict[int, NativeAnswer]:
    found: dict[int, NativeAnswer] = {}
    number = 0
    for message in messages:
        if isinstance(message, AgentMessage) and message.response.native is not None:
            found[number] = message.response.native
        number += len(to_ag2([message]))
    return found


def _messages(state: ChatState, turn: Turn, workflow: Workflow | None) -> list[Message]:
    """The conversation before the turn, and the turn's own messages up to the request."""
    if turn.agent == SELECTOR and workflow is not None:
        before = selector_conversation(workflow, state)
    else:
        seed = None if workflow is None else workflow.initial_message
        before = conversation_for(state, turn.agent, seed)
        if turn.processed is not None:
            with suppress(OtherConversationError):  # then the digest shows that it is not exact
                before = processed_conversation(before, turn.processed)
    trigger = turn.trigger
    if trigger is not None and before and isinstance(before[-1], UserMessage):
        before[-1] = UserMessage(text_of(trigger.parts))
    return [*before, *turn_messages(turn)]

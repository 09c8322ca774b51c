import pytest

from contracts.catalogue import ChatStatus
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatFailed
from services.transport.protocol.chat_projection import ChatView, apply
from tests.transport.story import (
    ANA,
    COMPLETED,
    QUESTION,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    component_answered,
    component_requested,
    question_answered,
    question_asked,
    sealed,
    view_after,
)


def view_of(*events: Event) -> ChatView:
    return view_after(sealed(STARTED, *events))


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "running"),
        ([SELECTED], "running"),
        ([SELECTED, question_asked()], "waiting"),
        ([SELECTED, component_requested()], "waiting"),
        ([SELECTED, question_asked(), question_answered()], "running"),
        ([SELECTED, component_requested(), component_answered()], "running"),
        ([SELECTED, RESPONDED, YOUR_TURN], "waiting"),
        ([SELECTED, question_asked(), COMPLETED], "completed"),
        ([ChatFailed(code="X", message="x")], "failed"),
        ([ChatCancelled(user_id=ANA)], "cancelled"),
    ],
)
def test_the_status_of_a_chat_follows_from_its_facts(
    events: list[Event], status: ChatStatus
) -> None:
    assert view_of(*events).status == status


def test_a_question_is_open_until_it_is_answered_or_the_chat_has_ended() -> None:
    (in_text,) = view_of(question_asked()).open_questions
    assert (in_text.question_id, in_text.kind) == (QUESTION, "text")
    (by_component,) = view_of(component_requested()).open_questions
    assert (by_component.question_id, by_component.kind) == (QUESTION, "component")
    assert view_of(question_asked(), question_answered()).open_questions == ()
    assert view_of(question_asked(), COMPLETED).open_questions == ()


def test_a_fact_applied_twice_changes_nothing() -> None:
    view = view_of(SELECTED, USED)
    fact = sealed(USED, after=2)[0]
    assert apply(view, fact.envelope, fact.event) == view


def test_a_model_call_is_open_from_its_request_to_its_response() -> None:
    assert view_of(SELECTED, REQUESTED).call == (1, 0)
    assert view_of(SELECTED, REQUESTED, RESPONDED).call is None

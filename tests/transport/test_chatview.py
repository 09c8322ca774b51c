import pytest

from contracts.catalogue import ChatStatus
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatFailed
from services.transport.chatview import ChatView, begin, see
from tests.transport.story import (
    ANA,
    ASKED,
    COMPLETED,
    REQUESTED,
    SAID,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    answers,
    asks,
    picked,
    sealed,
    shows,
)


def view_of(*events: Event) -> ChatView:
    first, *more = sealed(STARTED, *events)
    view = begin(first)
    assert view is not None
    for fact in more:
        view = see(view, fact)
    return view


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "running"),
        ([SELECTED], "running"),
        ([SELECTED, asks()], "waiting"),
        ([SELECTED, shows()], "waiting"),
        ([SELECTED, asks(), answers()], "running"),
        ([SELECTED, shows(), picked()], "running"),
        ([SELECTED, SAID, YOUR_TURN], "waiting"),
        ([SELECTED, asks(), COMPLETED], "completed"),
        ([ChatFailed(code="X", message="x")], "failed"),
        ([ChatCancelled(user_id=ANA)], "cancelled"),
    ],
)
def test_a_chat_has_the_status_that_its_facts_give(events: list[Event], status: ChatStatus) -> None:
    assert view_of(*events).status == status


def test_a_question_is_open_until_it_is_answered_or_the_chat_has_ended() -> None:
    assert view_of(asks()).questions == {ASKED: "words"}
    assert view_of(shows()).questions == {ASKED: "component"}
    assert view_of(asks(), answers()).questions == {}
    assert view_of(asks(), COMPLETED).questions == {}


def test_a_fact_seen_twice_changes_nothing() -> None:
    view = view_of(SELECTED, USED)
    assert see(view, sealed(USED, after=2)[0]) == view


def test_a_chat_that_does_not_begin_is_no_chat() -> None:
    assert begin(sealed(SELECTED)[0]) is None


def test_a_model_call_is_open_from_its_request_to_its_response() -> None:
    assert view_of(SELECTED, REQUESTED).call == (1, 0)
    assert view_of(SELECTED, REQUESTED, SAID).call is None

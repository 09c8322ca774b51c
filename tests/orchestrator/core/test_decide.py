"""What an order makes true, and when it makes nothing true at all."""

from dataclasses import replace

import pytest

from contracts.commands import AttachFile, Command, ExpireQuestion, SetVariables
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    ToolCodeChanged,
    UserMessageReceived,
)
from contracts.events.human import HumanAnswered, UiToolAnswered
from contracts.events.turn import SpeakerSelected, VariablesChanged
from contracts.ids import QuestionId
from contracts.seed import cache_seed
from services.orchestrator.decisions import restate
from services.orchestrator.workflows.spec import USER, AnswerTrigger, Version
from tests.story import (
    ANA,
    CANCEL,
    KEY,
    NEWSROOM,
    NOON,
    STARTED,
    WRITER,
    Story,
    answered,
    asked,
    calls,
    done,
    given,
    listens,
    order,
    press,
    reply,
    returns,
    say,
    shown,
    speaks,
    start,
)

ASKING = given(STARTED, speaks(), calls("ask"), asked())
SHOWING = given(STARTED, speaks(), calls("pick"), shown())
LISTENING = given(STARTED, speaks(), done(), listens(2))
SETS = SetVariables(**order("set"), variables={"tone": "warm"})
ATTACHES = AttachFile(
    **order("attach"),
    attachment_id="att_1",
    filename="a.csv",
    size_bytes=3,
    content_type="text/csv",
    digest="00",
)
EVERY_ORDER: list[Command] = [
    start(),
    say("Hi"),
    reply("red"),
    press({}),
    SETS,
    ATTACHES,
    CANCEL,
]


TOLD = {
    "workflow_name": NEWSROOM.name,
    "app_id": KEY.app,
    "chat_id": KEY.chat,
    "user_id": ANA,
}
"""What every chat's variables hold."""


def test_a_start_selects_the_first_speaker() -> None:
    assert given().when(start()) == [
        ChatStarted(user_id=ANA, seed=cache_seed(KEY.app, KEY.chat), variables=TOLD),
        SpeakerSelected(turn=1, agent=WRITER, by="initial"),
    ]


def test_a_start_pins_the_version_of_its_workflow() -> None:
    workflow = replace(NEWSROOM, version=Version("m1", "t1"))
    began, *_ = given().under(workflow).when(start())
    assert isinstance(began, ChatStarted)
    assert (began.workflow_version, began.tools_version) == ("m1", "t1")


def test_other_tool_code_is_stated_once() -> None:
    begun = given().under(replace(NEWSROOM, version=Version("m1", "t1"))).then(start())
    newer = replace(NEWSROOM, version=Version("m1", "t2"))
    stated = restate(begun.state, newer)
    assert stated == [ToolCodeChanged(before="t1", now="t2")]
    assert restate(begun.then(*stated).state, newer) == []


def test_nothing_is_stated_of_tool_code_where_no_version_was_pinned() -> None:
    assert restate(given(STARTED).state, replace(NEWSROOM, version=Version("m1", "t1"))) == []
    begun = given().under(replace(NEWSROOM, version=Version("m1", "t1"))).then(start())
    assert restate(begun.state, NEWSROOM) == []


def test_a_start_with_a_message_hears_it_first() -> None:
    began = given().when(start("Hello"))
    assert began[1:] == [
        UserMessageReceived(user_id=ANA, text="Hello"),
        SpeakerSelected(turn=1, agent=WRITER, by="initial"),
    ]


def test_a_starts_variables_go_over_the_workflows_own() -> None:
    workflow = replace(NEWSROOM, variables={"tone": "dry", "length": 3})
    began, *_ = given().under(workflow).when(start(tone="warm"))
    assert isinstance(began, ChatStarted)
    assert began.variables == {"tone": "warm", "length": 3, **TOLD}


def test_a_start_cannot_seed_what_belongs_to_the_runtime() -> None:
    began, *_ = given().when(start(app_id="other", _private=1, attachments=[], tone="warm"))
    assert isinstance(began, ChatStarted)
    assert began.variables == {"tone": "warm", **TOLD}


@pytest.mark.parametrize("command", EVERY_ORDER, ids=lambda c: c.name)
def test_an_order_told_twice_changes_nothing_the_second_time(command: Command) -> None:
    before = {"start_chat": given(), "answer_ui_tool": SHOWING}.get(command.name, ASKING)
    assert before.when(command)
    assert before.then(command).when(command) == []


def test_two_messages_alike_under_two_commands_are_both_heard() -> None:
    once = ASKING.then(say("Hi", "first"))
    assert once.when(say("Hi", "second")) == [UserMessageReceived(user_id=ANA, text="Hi")]


def test_a_message_told_twice_stays_heard_after_the_turn_it_fell_into() -> None:
    later = ASKING.then(say("Hi"), answered(), returns(), done())
    assert later.when(say("Hi")) == []


@pytest.mark.parametrize("command", EVERY_ORDER, ids=lambda c: c.name)
@pytest.mark.parametrize(
    "ending",
    [
        ChatCompleted(reason="terminate", turns=1),
        ChatFailed(code="X", message="broken"),
        ChatCancelled(user_id=ANA),
    ],
    ids=lambda e: e.type,
)
def test_an_ended_chat_hears_nothing_more(
    command: Command, ending: ChatCompleted | ChatFailed | ChatCancelled
) -> None:
    assert ASKING.then(ending).when(command) == []


@pytest.mark.parametrize("command", EVERY_ORDER[1:], ids=lambda c: c.name)
def test_a_chat_that_never_began_hears_only_its_start(command: Command) -> None:
    assert given().when(command) == []


def test_an_answer_to_an_open_question_is_taken() -> None:
    assert ASKING.when(reply("blue")) == [
        HumanAnswered(question_id=asked().question_id, user_id=ANA, text="blue")
    ]


def test_a_ui_response_to_an_open_ui_tool_is_taken() -> None:
    assert SHOWING.when(press({"ok": True})) == [
        UiToolAnswered(question_id=asked().question_id, user_id=ANA, response={"ok": True})
    ]


def test_the_first_answer_stands() -> None:
    assert ASKING.then(answered("red")).when(reply("blue")) == []


def test_an_answer_to_an_unknown_question_is_none() -> None:
    assert ASKING.when(reply("blue", QuestionId("acme.c.1.0.other"))) == []


def test_an_answer_that_comes_after_its_turn_is_none() -> None:
    assert ASKING.then(answered(), returns(), done()).when(reply("blue")) == []


def test_words_do_not_answer_a_ui_tool_nor_a_ui_response_a_question() -> None:
    assert SHOWING.when(reply("blue")) == []
    assert ASKING.when(press({"ok": True})) == []


def test_one_of_two_questions_can_be_answered_alone() -> None:
    both = given(STARTED, speaks(), calls("ask", "ask"), asked(1), asked(2))
    assert both.when(reply("blue", asked(2).question_id)) == [answered("blue", 2)]


def test_a_message_to_a_waiting_chat_ends_the_persons_turn() -> None:
    assert LISTENING.when(say("Go on")) == [
        UserMessageReceived(user_id=ANA, text="Go on"),
        SpeakerSelected(turn=3, agent=WRITER, by="user_message"),
    ]


def test_a_message_in_an_agents_turn_selects_nobody() -> None:
    assert ASKING.when(say("By the way")) == [UserMessageReceived(user_id=ANA, text="By the way")]


@pytest.mark.parametrize("story", [ASKING, LISTENING], ids=["asking", "listening"])
def test_a_cancel_is_the_last_event(story: Story) -> None:
    assert story.when(CANCEL) == [ChatCancelled(user_id=ANA, reason="enough")]


def test_a_start_of_an_unavailable_workflow_fails_in_words() -> None:
    began, failed = given().under(None).when(start())
    assert isinstance(began, ChatStarted)
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


def test_a_message_to_a_workflow_that_is_gone_fails_the_chat() -> None:
    heard, failed = LISTENING.under(None).when(say("Still there?"))
    assert isinstance(heard, UserMessageReceived)
    assert isinstance(failed, ChatFailed)


def test_an_answer_is_taken_although_the_workflow_is_gone() -> None:
    assert [event.type for event in ASKING.under(None).when(reply("red"))] == ["human.answered"]


def test_a_user_driven_workflow_waits_for_the_person_first() -> None:
    workflow = replace(NEWSROOM, startup_mode="UserDriven")
    assert given().under(workflow).when(start())[-1] == SpeakerSelected(
        turn=1, agent=USER, by="initial"
    )
    assert given().under(workflow).when(start("Hi"))[-1] == speaks(WRITER)


def expire(number: int = 1) -> ExpireQuestion:
    return ExpireQuestion(**order("expire"), question_id=asked(number).question_id)


ASKED_WITH_DEFAULT = asked().model_copy(update={"expires_at": NOON, "default": "grey"})
SHOWN_WITH_DEFAULT = shown().model_copy(update={"default": {"picked": None}})
PICKING = given(STARTED, speaks(), calls("pick"))


def test_a_question_that_expires_is_answered_by_its_default() -> None:
    [answer] = PICKING.then(ASKED_WITH_DEFAULT).when(expire())
    assert isinstance(answer, HumanAnswered)
    assert (answer.text, answer.by_default) == ("grey", True)


def test_a_ui_tool_that_expires_is_answered_by_its_default() -> None:
    [answer] = PICKING.then(SHOWN_WITH_DEFAULT).when(expire())
    assert isinstance(answer, UiToolAnswered)
    assert (answer.response, answer.by_default) == ({"picked": None}, True)


def test_a_question_that_expires_without_a_default_ends_its_turn_and_the_chat() -> None:
    ended = PICKING.then(asked()).when(expire())
    assert [event.type for event in ended] == [
        "human.question_expired",
        "turn.failed",
        "chat.failed",
    ]
    failed = ended[-1]
    assert isinstance(failed, ChatFailed)
    assert failed.code == "QUESTION_EXPIRED"


def test_a_timer_of_an_answered_question_or_of_one_that_was_never_asked_changes_nothing() -> None:
    assert PICKING.then(ASKED_WITH_DEFAULT, answered()).when(expire()) == []
    assert PICKING.then(ASKED_WITH_DEFAULT).when(expire(2)) == []


def test_the_person_sets_variables_but_not_those_of_the_runtime() -> None:
    given_ = {"tone": "warm", "app_id": "other", "ag:approved": True, "_x": 1}
    sets = SETS.model_copy(update={"variables": given_})
    assert ASKING.when(sets) == [VariablesChanged(turn=1, agent=USER, changed={"tone": "warm"})]
    assert ASKING.when(SETS.model_copy(update={"variables": {"user_id": "bob"}})) == []


def test_a_file_is_known_to_the_chat_and_to_its_state() -> None:
    (attached,) = ASKING.when(ATTACHES)
    assert ASKING.then(attached).state.attachments == (attached,)


PICKS = replace(
    NEWSROOM,
    triggers=(
        AnswerTrigger("colour", "pick", "choice.colour"),
        AnswerTrigger("picked", "pick", "choice", value=True),
        AnswerTrigger("never", "other", "choice"),
        AnswerTrigger("missing", "pick", "choice.size"),
    ),
)


def test_what_the_person_does_with_a_component_sets_variables() -> None:
    answered_, changed = SHOWING.under(PICKS).when(press({"choice": {"colour": "red"}}))
    assert answered_.type == "ui.tool_answered"
    assert changed == VariablesChanged(
        turn=1, agent=WRITER, changed={"colour": "red", "picked": True}
    )
    assert len(SHOWING.under(PICKS).when(press({"choice": None}))) == 1


def test_a_components_default_answer_sets_them_too() -> None:
    expiring = shown().model_copy(
        update={"expires_at": NOON, "default": {"choice": {"colour": "blue"}}}
    )
    story = given(STARTED, speaks(), calls("pick"), expiring).under(PICKS)
    expires = ExpireQuestion(**order("expire"), question_id=expiring.question_id)
    _, changed = story.when(expires)
    assert isinstance(changed, VariablesChanged)
    assert changed.changed == {"colour": "blue", "picked": True}

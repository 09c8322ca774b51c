"""The events that a command appends, and commands that append nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.cache_seed import cache_seed
from contracts.commands import (
    AttachFile,
    Command,
    EscalateQuestion,
    ExpireQuestion,
    SetVariables,
)
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    ToolCodeChanged,
    UserMessageReceived,
)
from contracts.events.human import (
    Approval,
    Audience,
    Escalation,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    UiToolAnswered,
)
from contracts.events.turn import SpeakerSelected, VariablesChanged
from contracts.ids import QuestionId, UserId
from services.orchestrator.domain.decisions import tool_code_changed
from services.orchestrator.domain.question_decisions import timer_id
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
EVERY_COMMAND: list[Command] = [
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
"""The variables that every chat has."""


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


def test_other_tool_code_is_recorded_once() -> None:
    begun = given().under(replace(NEWSROOM, version=Version("m1", "t1"))).then(start())
    newer = replace(NEWSROOM, version=Version("m1", "t2"))
    stated = tool_code_changed(begun.state, newer)
    assert stated == [ToolCodeChanged(before="t1", now="t2")]
    assert tool_code_changed(begun.then(*stated).state, newer) == []


def test_tool_code_is_not_recorded_if_no_version_was_pinned() -> None:
    assert (
        tool_code_changed(given(STARTED).state, replace(NEWSROOM, version=Version("m1", "t1")))
        == []
    )
    begun = given().under(replace(NEWSROOM, version=Version("m1", "t1"))).then(start())
    assert tool_code_changed(begun.state, NEWSROOM) == []


def test_a_start_with_a_message_records_the_message_first() -> None:
    began = given().when(start("Hello"))
    assert began[1:] == [
        UserMessageReceived(user_id=ANA, text="Hello"),
        SpeakerSelected(turn=1, agent=WRITER, by="initial"),
    ]


def test_variables_of_the_start_override_those_of_the_workflow() -> None:
    workflow = replace(NEWSROOM, variables={"tone": "dry", "length": 3})
    began, *_ = given().under(workflow).when(start(tone="warm"))
    assert isinstance(began, ChatStarted)
    assert began.variables == {"tone": "warm", "length": 3, **TOLD}


def test_a_start_sets_only_variables_that_users_may_set() -> None:
    workflow = replace(NEWSROOM, variables={"price": 5, "colour": "red"})
    began, *_ = (
        given()
        .under(workflow)
        .when(start(tone="warm", price=-5, colour="blue", new=1, ui_route="/shop"))
    )
    assert isinstance(began, ChatStarted)
    variables = {"price": 5, "colour": "red", "tone": "warm", "ui_route": "/shop"}
    assert began.variables == {**variables, **TOLD}


def test_a_start_cannot_set_variables_of_the_runtime() -> None:
    began, *_ = given().when(start(app_id="other", _private=1, attachments=[], tone="warm"))
    assert isinstance(began, ChatStarted)
    assert began.variables == {"tone": "warm", **TOLD}


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda c: c.name)
def test_a_command_that_is_delivered_twice_changes_nothing_the_second_time(
    command: Command,
) -> None:
    before = {"start_chat": given(), "answer_ui_tool": SHOWING}.get(command.name, ASKING)
    assert before.when(command)
    assert before.then(command).when(command) == []


def test_two_equal_messages_of_two_commands_are_both_recorded() -> None:
    once = ASKING.then(say("Hi", "first"))
    assert once.when(say("Hi", "second")) == [
        UserMessageReceived(user_id=ANA, text="Hi", while_running="queue")
    ]


def test_a_message_is_recorded_once_even_if_it_is_redelivered_after_the_turn() -> None:
    later = ASKING.then(say("Hi"), answered(), returns(), done())
    assert later.when(say("Hi")) == []


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=lambda c: c.name)
@pytest.mark.parametrize(
    "ending",
    [
        ChatCompleted(reason="terminate", turns=1),
        ChatFailed(code="X", message="broken", resumable=False),
        ChatCancelled(user_id=ANA),
    ],
    ids=lambda e: e.type,
)
def test_a_chat_that_has_ended_accepts_no_command(
    command: Command, ending: ChatCompleted | ChatFailed | ChatCancelled
) -> None:
    assert ASKING.then(ending).when(command) == []


@pytest.mark.parametrize("command", EVERY_COMMAND[1:], ids=lambda c: c.name)
def test_a_chat_that_has_not_started_accepts_only_its_start(command: Command) -> None:
    assert given().when(command) == []


def test_an_answer_to_an_open_question_is_accepted() -> None:
    assert ASKING.when(reply("blue")) == [
        HumanAnswered(question_id=asked().question_id, user_id=ANA, text="blue")
    ]


def test_a_response_to_an_open_ui_tool_is_accepted() -> None:
    assert SHOWING.when(press({"ok": True})) == [
        UiToolAnswered(question_id=asked().question_id, user_id=ANA, response={"ok": True})
    ]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("Blue", "Blue"), (" bLUE\n", "Blue"), ("blue!", "blue!"), ("RED", "RED"), ("Red", "Red")],
)
def test_an_answer_is_kept_as_the_question_offers_it_whatever_its_case(
    text: str, kept: str
) -> None:
    question = asked().model_copy(update={"options": ["Blue", "red", "RED"]})
    story = given(STARTED, speaks(), question)
    (answer, *_) = story.when(reply(text))
    assert isinstance(answer, HumanAnswered)
    assert answer.text == kept


def test_a_question_keeps_its_first_answer() -> None:
    assert ASKING.then(answered("red")).when(reply("blue")) == []


def test_an_answer_to_an_unknown_question_is_ignored() -> None:
    assert ASKING.when(reply("blue", QuestionId("acme.c.1.0.other"))) == []


def test_an_answer_after_the_end_of_its_turn_is_ignored() -> None:
    assert ASKING.then(answered(), returns(), done()).when(reply("blue")) == []


def test_a_text_does_not_answer_a_ui_tool_and_a_response_does_not_answer_a_question() -> None:
    assert SHOWING.when(reply("blue")) == []
    assert ASKING.when(press({"ok": True})) == []


def test_one_of_two_questions_can_be_answered_alone() -> None:
    both = given(STARTED, speaks(), calls("ask", "ask"), asked(1), asked(2))
    assert both.when(reply("blue", asked(2).question_id)) == [answered("blue", 2)]


def test_a_message_to_a_waiting_chat_ends_the_users_turn() -> None:
    assert LISTENING.when(say("Go on")) == [
        UserMessageReceived(user_id=ANA, text="Go on"),
        SpeakerSelected(turn=3, agent=WRITER, by="user_message"),
    ]


def test_a_message_in_an_agents_turn_selects_nobody() -> None:
    assert ASKING.when(say("By the way")) == [
        UserMessageReceived(user_id=ANA, text="By the way", while_running="queue")
    ]


@pytest.mark.parametrize("story", [ASKING, LISTENING], ids=["asking", "listening"])
def test_a_cancel_is_the_last_event(story: Story) -> None:
    assert story.when(CANCEL) == [ChatCancelled(user_id=ANA, reason="enough")]


def test_a_start_of_an_unavailable_workflow_is_a_failed_chat() -> None:
    began, failed = given().under(None).when(start())
    assert isinstance(began, ChatStarted)
    assert isinstance(failed, ChatFailed)
    assert failed.code == "WORKFLOW_UNAVAILABLE"


def test_a_message_fails_the_chat_if_its_workflow_is_not_available() -> None:
    heard, failed = LISTENING.under(None).when(say("Still there?"))
    assert isinstance(heard, UserMessageReceived)
    assert isinstance(failed, ChatFailed)


def test_an_answer_is_accepted_if_the_workflow_is_not_available() -> None:
    assert [event.type for event in ASKING.under(None).when(reply("red"))] == ["human.answered"]


def test_a_user_driven_workflow_waits_for_the_user_first() -> None:
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
        "turn.tool_returned",
        "turn.failed",
        "chat.failed",
    ]
    failed = ended[-1]
    assert isinstance(failed, ChatFailed)
    assert failed.code == "QUESTION_EXPIRED"


def test_a_timer_of_an_answered_question_or_of_one_that_was_never_asked_changes_nothing() -> None:
    assert PICKING.then(ASKED_WITH_DEFAULT, answered()).when(expire()) == []
    assert PICKING.then(ASKED_WITH_DEFAULT).when(expire(2)) == []


def test_a_timer_that_was_set_anew_before_its_question_was_asked_changes_nothing() -> None:
    question, later = asked().question_id, NOON + timedelta(hours=1)
    expiring = PICKING.then(ASKED_WITH_DEFAULT.model_copy(update={"expires_at": later}))
    old, new = (
        expire().model_copy(update={"command_id": timer_id("expire", question, time)})
        for time in (NOON, later)
    )
    assert expiring.when(old) == []
    assert [one.type for one in expiring.when(new)] == ["human.answered"]
    escalating = PICKING.then(ESCALATING)
    assert ESCALATING.escalation is not None
    earlier, newest = (
        escalate().model_copy(update={"command_id": timer_id("escalate", question, time)})
        for time in (later, ESCALATING.escalation.at)
    )
    assert escalating.when(earlier) == []
    assert [one.type for one in escalating.when(newest)] == ["human.question_escalated"]


BOB, ZOE = UserId("bob"), UserId("zoe")
PAY = Approval(tool="pay", digest="d" * 64, allow_always=True)
APPROVAL = asked().model_copy(update={"approval": PAY, "default": "Deny"})
FOR_FINANCE = APPROVAL.model_copy(update={"audience": Audience(users=[BOB], roles=["finance"])})
ESCALATING = asked().model_copy(
    update={"escalation": Escalation(at=NOON, to=Audience(users=[ZOE], roles=["manager"]))}
)


def decides(question: HumanAsked, text: str = "", **fields: Any) -> HumanAnswered | None:
    """The answer that the command leads to, if any."""
    command = reply(text).model_copy(update=fields)
    events = PICKING.then(question).when(command)
    answer = events[0] if events else None
    assert answer is None or isinstance(answer, HumanAnswered)
    return answer


@pytest.mark.parametrize(
    ("text", "fields", "approved", "always"),
    [
        ("Approve", {}, True, False),
        ("  OK. ", {}, True, False),
        ("no", {}, False, False),
        ("perhaps", {}, None, False),
        ("always", {}, True, True),
        ("only 10", {"approved": False}, False, False),
        ("fine", {"approved": True, "always": True}, True, True),
        ("never", {"approved": False, "always": True}, False, False),
    ],
)
def test_an_answer_to_an_approval_is_recorded_as_yes_no_or_neither(
    text: str, fields: dict[str, Any], *, approved: bool | None, always: bool
) -> None:
    answer = decides(APPROVAL, text, **fields)
    assert answer is not None
    assert (answer.approved, answer.always, answer.text) == (approved, always, text)


def test_always_is_not_taken_where_the_question_does_not_offer_it() -> None:
    once = APPROVAL.model_copy(update={"approval": PAY.model_copy(update={"allow_always": False})})
    answer = decides(once, "fine", approved=True, always=True)
    assert answer is not None
    assert (answer.approved, answer.always) == (True, False)
    said = decides(once, "always")
    assert said is not None
    assert said.approved is None


def test_the_answer_to_an_ordinary_question_decides_nothing() -> None:
    answer = decides(asked(), "yes", approved=True)
    assert answer is not None
    assert answer.approved is None


def test_an_answer_counts_only_from_those_who_are_asked() -> None:
    assert decides(FOR_FINANCE, "yes") is None  # the chat's user
    assert decides(FOR_FINANCE, "yes", role="sales") is None
    by_name = decides(FOR_FINANCE, "yes", user_id=BOB)
    assert by_name is not None
    assert (by_name.user_id, by_name.role) == (BOB, None)
    by_role = decides(FOR_FINANCE, "yes", user_id=ZOE, role="finance")
    assert by_role is not None
    assert (by_role.user_id, by_role.role) == (ZOE, "finance")
    assert decides(asked(), "red", user_id=BOB) is None
    for_bob = shown().model_copy(update={"audience": Audience(users=[BOB])})
    assert PICKING.then(for_bob).when(press({})) == []


def test_an_answer_to_other_arguments_has_no_effect() -> None:
    assert decides(APPROVAL, "yes", digest="e" * 64) is None
    assert decides(APPROVAL, "yes", digest=PAY.digest) is not None
    assert decides(asked(), "yes", digest=PAY.digest) is None


def test_an_approval_that_expires_is_denied() -> None:
    [answer] = PICKING.then(APPROVAL).when(expire())
    assert isinstance(answer, HumanAnswered)
    assert (answer.approved, answer.by_default) == (False, True)


def escalate() -> EscalateQuestion:
    return EscalateQuestion(**order("escalate"), question_id=asked().question_id)


def test_an_escalated_question_may_be_answered_by_others_too() -> None:
    story = PICKING.then(ESCALATING)
    answer = reply("red").model_copy(update={"user_id": BOB, "role": "manager"})
    assert story.when(answer) == []
    [escalated] = story.when(escalate())
    assert isinstance(escalated, QuestionEscalated)
    assert escalated.to == Audience(users=[ZOE], roles=["manager"])
    after = story.then(escalated)
    assert [one.type for one in after.when(answer)] == ["human.answered"]
    assert [one.type for one in after.when(reply("red"))] == ["human.answered"]


def test_a_question_is_escalated_once_while_it_is_open() -> None:
    story = PICKING.then(ESCALATING)
    assert story.then(escalate()).when(escalate()) == []
    assert story.then(answered()).when(escalate()) == []
    assert PICKING.then(asked()).when(escalate()) == []
    assert PICKING.when(escalate()) == []


def test_always_holds_for_the_tool_of_the_agent_that_asked() -> None:
    always = PICKING.then(APPROVAL, reply("always"))
    assert always.state.always_approved == {(WRITER, "pay"): APPROVAL.question_id}
    assert PICKING.then(APPROVAL, reply("yes")).state.always_approved == {}


def test_the_user_sets_variables_but_not_those_of_the_runtime() -> None:
    given_ = {"tone": "warm", "app_id": "other", "ag:approved": True, "_x": 1}
    sets = SETS.model_copy(update={"variables": given_})
    assert ASKING.when(sets) == [VariablesChanged(turn=1, agent=USER, changed={"tone": "warm"})]
    assert ASKING.when(SETS.model_copy(update={"variables": {"user_id": "bob"}})) == []


@pytest.mark.parametrize(
    ("component", "changed"),
    [
        (None, {"tone": "warm"}),
        ("table", {"tone": "warm"}),
        ("palette", {"tone": "warm", "colour": "blue"}),
    ],
)
def test_a_variable_is_set_only_by_the_components_that_its_definition_names(
    component: str | None, changed: dict[str, str]
) -> None:
    variables = {"tone": "warm", "colour": "blue", "price": -5}
    sets = SETS.model_copy(update={"variables": variables, "component": component})
    assert ASKING.when(sets) == [VariablesChanged(turn=1, agent=USER, changed=changed)]


def test_without_its_workflow_a_chat_takes_only_variables_of_pages() -> None:
    variables = {"tone": "warm", "ui_route": "/shop"}
    sets = SETS.model_copy(update={"variables": variables})
    (changed,) = ASKING.under(None).when(sets)
    assert changed == VariablesChanged(turn=1, agent=USER, changed={"ui_route": "/shop"})


def test_an_attachment_is_recorded_and_part_of_the_state() -> None:
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


def test_the_users_response_to_a_component_sets_variables() -> None:
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

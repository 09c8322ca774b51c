"""Renaming, archiving and deleting a chat: what is appended, what is refused, and how it comes back."""

from contracts.commands import (
    ArchiveChat,
    Command,
    DeleteChat,
    ExpireQuestion,
    RenameChat,
    SetVariables,
    UnarchiveChat,
    UndeleteChat,
)
from contracts.events.chat import ChatCompleted, UserMessageReceived, UserMessagesConsumed
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.human import QuestionExpired
from contracts.events.turn import USER, SpeakerSelected, TurnStopped, TurnStopRequested
from services.orchestrator.domain.applied_commands import KEPT, AppliedCommands
from services.orchestrator.domain.state import StopTurn, pending
from services.orchestrator.domain.stop_decisions import stop
from tests.story import (
    ANA,
    CANCEL,
    NEWSROOM,
    STARTED,
    WRITER,
    Story,
    asked,
    given,
    heard,
    listens,
    order,
    reply,
    say,
    speaks,
    start,
    stop_answer,
)

WAITING = given(STARTED, listens(1))
ANSWERING = given(STARTED, heard("Write."), speaks())
ENDED = given(STARTED, ChatCompleted(reason="terminate", turns=0))


def rename(title: str, name: str = "rename") -> RenameChat:
    return RenameChat(**order(name), title=title)


def archive(name: str = "archive") -> ArchiveChat:
    return ArchiveChat(**order(name))


def unarchive(name: str = "unarchive") -> UnarchiveChat:
    return UnarchiveChat(**order(name))


def delete(name: str = "delete") -> DeleteChat:
    return DeleteChat(**order(name), grace_seconds=60)


def undelete(name: str = "undelete") -> UndeleteChat:
    return UndeleteChat(**order(name))


DELETED = ChatDeleted(user_id=ANA, grace_seconds=60)


def stopped(story: Story) -> Story:
    return story.then(*stop(story.state, story.workflow))


def test_a_chat_is_renamed_whether_it_runs_waits_or_has_ended() -> None:
    for story in (WAITING, ANSWERING, ENDED):
        assert story.when(rename("Bread")) == [ChatRenamed(user_id=ANA, title="Bread")]


def test_what_is_so_already_changes_nothing() -> None:
    story = WAITING.then(rename("Bread"), archive())
    assert story.when(rename("Bread", "again")) == []
    assert story.when(archive("again")) == []
    assert WAITING.when(unarchive()) == []
    assert WAITING.when(undelete()) == []
    assert WAITING.then(delete()).when(delete("again")) == []


def test_an_archived_chat_goes_on_and_can_be_listed_again() -> None:
    story = WAITING.then(archive())
    assert story.facts[-1].event == ChatArchived(user_id=ANA)
    assert story.when(say("Go on."))[0] == UserMessageReceived(user_id=ANA, text="Go on.")
    assert story.when(unarchive()) == [ChatUnarchived(user_id=ANA)]


def test_a_chat_that_waits_or_has_ended_is_deleted_by_one_event() -> None:
    for story in (WAITING, ENDED):
        assert story.when(delete()) == [DELETED]
        assert pending(story.then(delete()).state) is None


def test_deleting_a_chat_stops_its_answer_first_and_begins_no_other() -> None:
    queueing = ANSWERING.then(say("And this."))
    story = queueing.then(delete())
    assert [one.event for one in story.facts[-2:]] == [
        TurnStopRequested(turn=1, agent=WRITER, user_id=ANA, by="stop", reason="deleted"),
        DELETED,
    ]
    assert pending(story.state) == StopTurn(1)
    assert stop(story.state, NEWSROOM) == [
        TurnStopped(turn=1, agent=WRITER, user_id=ANA, by="stop"),
        SpeakerSelected(turn=2, agent=USER, by="stopped"),
    ]
    assert pending(stopped(story).state) is None


def test_an_answer_that_is_being_stopped_is_not_stopped_again() -> None:
    assert ANSWERING.then(stop_answer()).when(delete()) == [DELETED]


def test_deleting_a_chat_closes_its_open_question() -> None:
    story = ANSWERING.then(asked())
    closed = stop(story.then(delete()).state, NEWSROOM)
    assert QuestionExpired(question_id=asked().question_id) in closed


def test_a_deleted_chat_takes_no_command_but_the_one_that_takes_it_back() -> None:
    story = stopped(ANSWERING.then(delete()))
    refused: list[Command] = [
        say("Hello?"),
        reply("red"),
        start("Again."),
        CANCEL,
        stop_answer(),
        rename("Bread"),
        archive(),
        ExpireQuestion(**order("expire"), question_id=asked().question_id),
        SetVariables(**order("set"), variables={"tone": "calm"}),
    ]
    assert [story.when(one) for one in refused] == [[]] * len(refused)
    assert story.when(undelete()) == [ChatUndeleted(user_id=ANA)]


def test_an_undeleted_chat_goes_on_with_the_messages_that_waited() -> None:
    story = stopped(ANSWERING.then(say("And this."), delete())).then(
        undelete(), say("Go on.", "next")
    )
    consumed = story.facts[-1].event
    assert isinstance(consumed, UserMessagesConsumed)
    assert len(consumed.messages) == 1
    assert story.state.waiting == ()


def test_a_deletion_that_is_delivered_again_after_it_was_taken_back_changes_nothing() -> None:
    story = WAITING.then(delete(), undelete())
    assert story.when(delete()) == []
    assert story.when(delete("another")) == [DELETED]


def test_the_newest_ids_of_applied_commands_are_known_and_their_number_is_bounded() -> None:
    applied = AppliedCommands()
    for number in range(5 * KEPT):
        applied = applied.with_command(f"c-{number}")
    assert all(f"c-{number}" in applied for number in range(4 * KEPT, 5 * KEPT))
    assert "c-0" not in applied
    assert len(applied.newer | applied.older) <= 2 * KEPT
    assert applied.with_command(f"c-{5 * KEPT - 1}") == applied

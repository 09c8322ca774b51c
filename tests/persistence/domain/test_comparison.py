"""Whatever is damaged in one place is named: the chat, the place, the event, what."""

from dataclasses import replace

import pytest

from contracts.ids import AgentName, Seq, StreamSeq
from services.persistence.domain.comparison import ChatCopies, differences
from services.persistence.domain.projection import advance, summary_of
from services.persistence.store.interface import ArchiveRecord, ProjectionUpdate
from tests.persistence.story import KEY, archived_events, decisions_of, hello, interview


def change(events: int) -> ProjectionUpdate:
    made = advance(None, archived_events(decisions_of(interview())[:events]))
    assert made is not None
    return made


def whole(events: int = 18, models: int | None = None, archived: int | None = None) -> ChatCopies:
    """All copies of an interview; read models and archive may lag behind the log."""
    log = archived_events(decisions_of(interview())[:events])
    made = change(models or events)
    return ChatCopies(
        key=KEY,
        archive=tuple(
            ArchiveRecord(one.envelope.seq, one.position, one.data)
            for one in log[: archived or events]
        ),
        session=made.session,
        messages=made.messages,
        effects=tuple(one.record for one in made.effects),
        model_calls=made.model_calls,
        stats=made.stats,
        summary=summary_of(made.session),
        log=tuple(log),
    )


def found(one: ChatCopies, at_least: int | None = None) -> list[str]:
    return [str(difference) for difference in differences(one, at_least)]


WHOLE = whole()
OTHER = change(9)
SESSION, STATS, SUMMARY = WHOLE.session, WHOLE.stats, WHOLE.summary
assert SESSION is not None
assert STATS is not None
assert SUMMARY is not None
LINE = WHOLE.archive[6]
DAMAGED: dict[str, tuple[ChatCopies, list[str]]] = {
    "a lost archive document": (
        replace(WHOLE, archive=(*WHOLE.archive[:6], *WHOLE.archive[7:])),
        ["archive: event 7: is missing"],
    ),
    "a lost first document": (
        replace(WHOLE, archive=WHOLE.archive[1:]),
        ["archive: event 1: is missing"],
    ),
    "an altered byte": (
        replace(
            WHOLE,
            archive=(
                *WHOLE.archive[:6],
                LINE._replace(data=LINE.data.replace(b"Water", b"water")),
                *WHOLE.archive[7:],
            ),
        ),
        ["archive: event 7: its bytes differ from the log's"],
    ),
    "another position": (
        replace(
            WHOLE,
            archive=(*WHOLE.archive[:6], LINE._replace(position=StreamSeq(70)), *WHOLE.archive[7:]),
        ),
        ["archive: event 7: position is 70, in the log it is 7"],
    ),
    "a document of no event": (
        replace(WHOLE, archive=(LINE._replace(seq=Seq(0)), *WHOLE.archive)),
        ["archive: event 0: is not an event of a chat"],
    ),
    "a lost session": (replace(WHOLE, session=None), ["session: is missing, or damaged"]),
    "an altered session": (
        replace(WHOLE, session=replace(SESSION, status="failed", title="x")),
        ["session: event 18: differs in title, status"],
    ),
    "a session that is ahead": (
        replace(WHOLE, session=replace(SESSION, last_seq=Seq(20))),
        ["session: event 20: is as of this event; there are 18"],
    ),
    "a session that trails": (
        replace(WHOLE, session=OTHER.session),
        ["session: event 9: is as of this event; there are 18"],
    ),
    "a lost effect": (
        replace(WHOLE, effects=WHOLE.effects[1:]),
        [f"effects: event {WHOLE.effects[0].seq}: is missing"],
    ),
    "an effect too many": (
        replace(WHOLE, effects=(*WHOLE.effects, WHOLE.effects[0].model_copy(update={"seq": 1}))),
        ["effects: event 1: is not in the events"],
    ),
    "a lost model call": (
        replace(WHOLE, model_calls=WHOLE.model_calls[1:]),
        [f"runtime log: event {WHOLE.model_calls[0].seq}: is missing"],
    ),
    "an altered model call": (
        replace(
            WHOLE,
            model_calls=(
                WHOLE.model_calls[0].model_copy(update={"cost": 7.0}),
                *WHOLE.model_calls[1:],
            ),
        ),
        [f"runtime log: event {WHOLE.model_calls[0].seq}: differs in cost"],
    ),
    "a lost message": (
        replace(WHOLE, messages=WHOLE.messages[1:]),
        ["messages: event 4: is missing"],
    ),
    "a message too many": (
        replace(
            WHOLE,
            messages=(*WHOLE.messages, WHOLE.messages[0].model_copy(update={"seq": 5})),
        ),
        ["messages: event 5: is not in the events"],
    ),
    "an altered message": (
        replace(
            WHOLE,
            messages=(
                WHOLE.messages[0].model_copy(update={"name": AgentName("x"), "content": "y"}),
                *WHOLE.messages[1:],
            ),
        ),
        ["messages: event 4: differs in name, content"],
    ),
    "lost statistics": (replace(WHOLE, stats=None), ["statistics: are missing, or damaged"]),
    "altered statistics": (
        replace(WHOLE, stats=replace(STATS, totals=replace(STATS.totals, agent_turns=7))),
        ["statistics: event 18: differs in agent_turns"],
    ),
    "a lost summary": (replace(WHOLE, summary=None), ["summary: is missing, or damaged"]),
    "an altered summary": (
        replace(WHOLE, summary=SUMMARY.model_copy(update={"title": "x"})),
        ["summary: event 18: differs in title"],
    ),
    "a summary that trails": (
        replace(WHOLE, summary=summary_of(OTHER.session)),
        ["summary: event 9: is as of this event; there are 18"],
    ),
    "a lost log": (
        replace(WHOLE, log=()),
        ["log: event 1: is missing; the archive goes on to event 18"],
    ),
    "a hole in the log": (
        replace(WHOLE, log=WHOLE.log[:4], not_events=(StreamSeq(6), StreamSeq(7))),
        [
            "log: event 5: is missing; the archive goes on to event 18; messages that do not count: 6, 7"
        ],
    ),
}


def test_complete_copies_have_no_differences() -> None:
    assert found(WHOLE) == []
    assert found(ChatCopies(KEY)) == []


@pytest.mark.parametrize("kind", DAMAGED)
def test_each_damage_is_named_and_no_other(kind: str) -> None:
    damaged, said = DAMAGED[kind]
    assert [one.removeprefix("acme.corp/chat 1  ") for one in found(damaged)] == said


def test_messages_that_are_not_events_are_no_difference() -> None:
    assert found(replace(WHOLE, not_events=(StreamSeq(3),))) == []


def test_read_models_may_lag_behind_a_running_log() -> None:
    trailing = whole(models=9, archived=12)
    assert found(trailing, at_least=9) == []
    assert found(trailing, at_least=13) == [
        "acme.corp/chat 1  archive: event 13: is missing",
        "acme.corp/chat 1  session: event 9: is as of this event; there are 13",
        "acme.corp/chat 1  statistics: event 9: is as of this event; there are 13",
        "acme.corp/chat 1  summary: event 9: is as of this event; there are 13",
    ]


def test_a_lagging_read_model_is_compared_as_of_its_own_last_event() -> None:
    trailing = whole(models=9)
    assert trailing.session is not None
    altered = replace(
        trailing,
        session=replace(trailing.session, totals=replace(trailing.session.totals, agent_turns=7)),
    )
    assert found(altered, at_least=9) == [
        "acme.corp/chat 1  session: event 9: differs in agent_turns"
    ]


def test_a_chat_that_is_only_in_the_log_lacks_every_copy() -> None:
    bare = ChatCopies(KEY, log=tuple(archived_events(decisions_of(hello()))))
    where = {difference.where for difference in differences(bare)}
    assert where == {"archive", "session", "messages", "summary"}


def test_an_archive_that_breaks_where_the_log_has_ended_says_where() -> None:
    broken = replace(WHOLE, log=(), archive=(*WHOLE.archive[:6], *WHOLE.archive[7:]))
    assert "acme.corp/chat 1  archive: event 7 is missing" in found(broken)

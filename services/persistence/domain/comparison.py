"""Compares the copies of one chat: log, archive, session, messages, effects, statistics and summary."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from pydantic import BaseModel

from contracts.catalogue import ChatSummary
from contracts.chat_snapshot import ChatTotals
from contracts.effects import EffectRecord
from contracts.ids import ChatKey, Seq, StreamSeq
from contracts.runtime_log import ModelCall
from services.persistence.domain.archive import read_chain
from services.persistence.domain.projection import advance, summary_of
from services.persistence.store.interface import (
    ArchivedEvent,
    ArchiveRecord,
    ChatStats,
    Message,
    ProjectionUpdate,
    Session,
    StoredEffect,
)

Where = Literal[
    "log", "archive", "session", "messages", "effects", "runtime log", "statistics", "summary"
]


Fields = Session | ChatStats | ChatTotals


class Difference(NamedTuple):
    """A copy that differs from the events; `seq` is the event concerned, if there is one."""

    key: ChatKey
    where: Where
    seq: int | None
    what: str

    def __str__(self) -> str:
        event = "" if self.seq is None else f"event {self.seq}: "
        return f"{self.key.app}/{self.key.chat}  {self.where}: {event}{self.what}"


class MissingValue(NamedTuple):
    """A large value that an event refers to, and the copy that lacks it."""

    where: Literal["log", "archive"]
    seq: Seq
    digest: str


@dataclass(frozen=True, slots=True)
class ChatCopies:
    """All copies of a chat.

    The log is read last, so that it includes everything that the others have. `not_events` are the
    positions of messages in the subjects of the chat that are not events of it. `before` is the
    session of a fork before its own first event, which all but the session leave out; `lost_origin`
    says why there is none.
    """

    key: ChatKey
    archive: tuple[ArchiveRecord, ...] = ()
    session: Session | None = None
    messages: tuple[Message, ...] = ()
    effects: tuple[EffectRecord, ...] = ()
    model_calls: tuple[ModelCall, ...] = ()
    stats: ChatStats | None = None
    summary: ChatSummary | None = None
    log: tuple[ArchivedEvent, ...] = ()
    not_events: tuple[StreamSeq, ...] = ()
    missing_values: tuple[MissingValue, ...] = ()
    before: Session | None = None
    lost_origin: str = ""

    @property
    def start(self) -> int:
        """The event before the chat's own first one."""
        return 0 if self.before is None else self.before.last_seq


def differences(copies: ChatCopies, at_least: int | None = None) -> list[Difference]:
    """How the copies differ from the events of the chat.

    A read model is a function of the events up to its own last one, and is compared with that. It
    must include event `at_least`: by default the last event of the log.
    """
    if copies.lost_origin:
        return [Difference(copies.key, "log", None, copies.lost_origin)]
    events = _events_of(copies)
    if events and events[-1].stored.is_erasure:
        return list(_of_erased(copies, events[-1]))
    reach = copies.start + len(events) if at_least is None else at_least
    return [
        *_of_log(copies),
        *_of_archive(copies, reach),
        *_of_session(copies, events, reach),
        *_of_messages(copies, events, reach),
        *_of_effects(copies, events, reach),
        *_of_model_calls(copies, events, reach),
        *_of_stats(copies, events, reach),
        *_of_summary(copies, events, reach),
        *_of_values(copies, reach),
    ]


def _of_erased(copies: ChatCopies, last: ArchivedEvent) -> Iterator[Difference]:
    """What is left of a chat that is erased beside its numbers, and whether these are right."""
    key, seq = copies.key, last.envelope.seq
    places: tuple[tuple[Where, Sequence[int]], ...] = (
        ("log", [one.envelope.seq for one in copies.log]),
        ("archive", [one.seq for one in copies.archive]),
        ("messages", [one.seq for one in copies.messages]),
        ("effects", [one.seq for one in copies.effects]),
        ("runtime log", [one.seq for one in copies.model_calls]),
    )
    for where, left in places:
        for one in left:
            if one != seq:
                yield Difference(key, where, one, "is left of an erased chat: mozaiks erase")
    if copies.summary is not None:
        yield Difference(key, "summary", None, "is left of an erased chat: mozaiks erase")
    expected = _all(copies, [last], 1)
    if copies.session is None or copies.session.last_seq < seq:
        yield Difference(key, "session", seq, "is as of an event that is erased, or missing")
    else:
        yield from _fields(key, "session", copies.session, expected.session)
    if copies.stats is None or copies.stats.last_seq < seq:
        yield Difference(key, "statistics", seq, "are as of an event that is erased, or missing")
    else:
        yield from _fields(key, "statistics", copies.stats, expected.stats)


def _of_values(copies: ChatCopies, reach: int) -> Iterator[Difference]:
    for where, seq, digest in copies.missing_values:
        if where == "log" or seq <= reach:
            yield Difference(copies.key, where, seq, f"its value {digest} is missing")


def _events_of(copies: ChatCopies) -> tuple[ArchivedEvent, ...]:
    """The events of the log, and those of the archive that continue them."""
    archived = read_chain(copies.key, copies.archive).events
    if archived and archived[-1].stored.is_erasure:
        return archived
    continues = [one.data for one in archived[: len(copies.log)]] == [
        one.data for one in copies.log
    ]
    return (*copies.log, *archived[len(copies.log) :]) if continues else copies.log


def _of_log(copies: ChatCopies) -> Iterator[Difference]:
    end, last = copies.start + len(copies.log), copies.archive[-1].seq if copies.archive else 0
    if last > end:
        ignored = ", ".join(str(one) for one in copies.not_events[:5])
        note = f"; messages that do not count: {ignored}" if ignored else ""
        yield Difference(
            copies.key, "log", end + 1, f"is missing; the archive goes on to event {last}{note}"
        )


def _of_archive(copies: ChatCopies, reach: int) -> Iterator[Difference]:
    records = {int(record.seq): record for record in copies.archive}
    last = max([reach, *records])
    for seq in range(copies.start + 1, last + 1):
        record = records.get(seq)
        if record is None:
            yield Difference(copies.key, "archive", seq, "is missing")
        elif seq <= copies.start + len(copies.log):
            yield from _of_record(copies, record, copies.log[seq - copies.start - 1])
    for seq in sorted(records):
        if seq <= copies.start:
            yield Difference(copies.key, "archive", seq, "is not an event of a chat")
    damage = read_chain(copies.key, copies.archive).damage
    if damage and last > copies.start + len(copies.log):  # nothing else has the right bytes
        yield Difference(copies.key, "archive", None, damage)


def _of_record(
    copies: ChatCopies, record: ArchiveRecord, logged: ArchivedEvent
) -> Iterator[Difference]:
    if record.data != logged.data:
        yield Difference(copies.key, "archive", record.seq, "its bytes differ from the log's")
    if record.position != logged.position:
        what = f"position is {record.position}, in the log it is {logged.position}"
        yield Difference(copies.key, "archive", record.seq, what)


def _of_session(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    session = copies.session
    if session is None:
        if reach > copies.start:
            yield Difference(copies.key, "session", None, "is missing, or damaged")
        return
    yield from _reached(copies, "session", session.last_seq, events, reach)
    if (expected := _folded(copies, events, session.last_seq)) is not None:
        yield from _fields(copies.key, "session", session, expected.session)


def _of_messages(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    expected = {int(one.seq): one for one in _until_session(copies, events, reach).messages}
    found = {int(one.seq): one for one in copies.messages}
    yield from _of_rows(copies, "messages", expected, found, events, reach)


def _of_effects(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    expected = {
        int(one.record.seq): one.record for one in _until_session(copies, events, reach).effects
    }
    found = {int(one.seq): one for one in copies.effects}
    yield from _of_rows(copies, "effects", expected, found, events, reach)


def _of_model_calls(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    expected = {int(one.seq): one for one in _until_session(copies, events, reach).model_calls}
    found = {int(one.seq): one for one in copies.model_calls}
    yield from _of_rows(copies, "runtime log", expected, found, events, reach)


def _of_rows(
    copies: ChatCopies,
    where: Where,
    expected: Mapping[int, BaseModel],
    found: Mapping[int, BaseModel],
    events: Sequence[ArchivedEvent],
    reach: int,
) -> Iterator[Difference]:
    """Rows of a read model by the `seq` of their event; those after the session do not count."""
    until = _session_end(copies, events, reach)
    for seq in sorted({*expected, *(seq for seq in found if seq <= until)}):
        if seq not in found:
            yield Difference(copies.key, where, seq, "is missing")
        elif seq not in expected:
            yield Difference(copies.key, where, seq, "is not in the events")
        elif wrong := _unequal(found[seq], expected[seq]):
            yield Difference(copies.key, where, seq, f"differs in {wrong}")


def _session_end(copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int) -> int:
    return min(
        copies.start + len(events), reach if copies.session is None else copies.session.last_seq
    )


class _Rows(NamedTuple):
    messages: Sequence[Message]
    effects: Sequence[StoredEffect]
    model_calls: Sequence[ModelCall]


def _until_session(copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int) -> _Rows:
    until = _session_end(copies, events, reach)
    if until <= copies.start:
        return _Rows((), (), ())
    whole = _all(copies, events, until)
    return _Rows(whole.messages, whole.effects, whole.model_calls)


def _of_stats(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    stats = copies.stats
    if stats is None:
        if reach > copies.start and copies.session is not None:
            yield Difference(copies.key, "statistics", None, "are missing, or damaged")
        return
    yield from _reached(copies, "statistics", stats.last_seq, events, reach)
    if (expected := _folded(copies, events, stats.last_seq)) is not None:
        yield from _fields(copies.key, "statistics", stats, expected.stats)


def _of_summary(
    copies: ChatCopies, events: Sequence[ArchivedEvent], reach: int
) -> Iterator[Difference]:
    summary = copies.summary
    if summary is None:
        whole = _folded(copies, events, reach)
        if whole is not None and summary_of(whole.session) is not None:
            yield Difference(copies.key, "summary", None, "is missing, or damaged")
        return
    yield from _reached(copies, "summary", summary.last_seq, events, reach)
    expected = _folded(copies, events, summary.last_seq)
    projected = None if expected is None else summary_of(expected.session)
    if projected is not None and (wrong := _unequal(summary, projected)):
        yield Difference(copies.key, "summary", summary.last_seq, f"differs in {wrong}")


def _reached(
    copies: ChatCopies,
    where: Where,
    last_seq: int,
    events: Sequence[ArchivedEvent],
    reach: int,
) -> Iterator[Difference]:
    if last_seq > copies.start + len(events):
        what = f"is as of this event; there are {copies.start + len(events)}"
        yield Difference(copies.key, where, last_seq, what)
    elif last_seq < reach:
        yield Difference(copies.key, where, last_seq, f"is as of this event; there are {reach}")


def _folded(
    copies: ChatCopies, events: Sequence[ArchivedEvent], until: int
) -> ProjectionUpdate | None:
    """The projection of the events up to one; None if there is no such event."""
    own = until - copies.start
    return _all(copies, events, until) if 1 <= own <= len(events) else None


def _all(copies: ChatCopies, events: Sequence[ArchivedEvent], until: int) -> ProjectionUpdate:
    made = advance(copies.before, events[: until - copies.start])
    if made is None:
        raise ValueError("there is no event to fold")
    return made


def _fields(
    key: ChatKey,
    where: Where,
    found: Session | ChatStats,
    expected: Session | ChatStats,
) -> Iterator[Difference]:
    if wrong := list(_differing(found, expected)):
        yield Difference(key, where, expected.last_seq, f"differs in {', '.join(wrong)}")


def _differing(found: Fields, expected: Fields) -> Iterator[str]:
    """The names of the fields that differ, those of the totals included."""
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(one, ChatTotals) and isinstance(other, ChatTotals):
            yield from _differing(one, other)
        elif one != other:
            yield field.name


def _unequal(found: BaseModel, expected: BaseModel) -> str:
    names = type(expected).model_fields
    wrong = [name for name in names if getattr(found, name) != getattr(expected, name)]
    return ", ".join(wrong)


def last_known_seq(copies: ChatCopies) -> Seq:
    """The `seq` of the last known event of a chat."""
    return Seq(copies.start + len(_events_of(copies)))

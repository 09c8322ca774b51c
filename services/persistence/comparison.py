"""What is kept of one chat in different places, and what differs: pure, so that tests can damage it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from pydantic import BaseModel

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey, Seq, StreamSeq
from services.persistence.archive import chain
from services.persistence.projection import advance, summary_of
from services.persistence.store import Archived, Change, ChatStats, Line, Message, Session

Where = Literal["log", "archive", "session", "messages", "statistics", "summary"]


class Difference(NamedTuple):
    """Something that is not as the events say; `seq` is the event concerned, where there is one."""

    key: ChatKey
    where: Where
    seq: int | None
    what: str

    def __str__(self) -> str:
        event = "" if self.seq is None else f"event {self.seq}: "
        return f"{self.key.app}/{self.key.chat}  {self.where}: {event}{self.what}"


@dataclass(frozen=True, slots=True)
class Kept:
    """All that is kept of a chat.

    The log is read last, so that it holds whatever the others know. `passed_over` are the
    positions of messages in the chat's subjects that are no events of it.
    """

    key: ChatKey
    archive: tuple[Line, ...] = ()
    session: Session | None = None
    messages: tuple[Message, ...] = ()
    stats: ChatStats | None = None
    summary: ChatSummary | None = None
    log: tuple[Archived, ...] = ()
    passed_over: tuple[StreamSeq, ...] = ()


def differences(kept: Kept, at_least: int | None = None) -> list[Difference]:
    """What differs from the chat's events.

    Each read model is a function of events 1 to its own last one, and is compared with that. One
    that has not come as far as event `at_least` trails: by default as far as the log goes.
    """
    truth = _truth(kept)
    reach = len(truth) if at_least is None else at_least
    return [
        *_of_log(kept),
        *_of_archive(kept, reach),
        *_of_session(kept, truth, reach),
        *_of_messages(kept, truth, reach),
        *_of_stats(kept, truth, reach),
        *_of_summary(kept, truth, reach),
    ]


def _truth(kept: Kept) -> tuple[Archived, ...]:
    """The log's events, and those that only the archive still has, where it goes on from there."""
    archived = chain(kept.key, kept.archive).events
    goes_on = [one.data for one in archived[: len(kept.log)]] == [one.data for one in kept.log]
    return (*kept.log, *archived[len(kept.log) :]) if goes_on else kept.log


def _of_log(kept: Kept) -> Iterator[Difference]:
    end, last = len(kept.log), kept.archive[-1].seq if kept.archive else 0
    if last > end:
        strange = ", ".join(str(one) for one in kept.passed_over[:5])
        passed = f"; messages that do not count: {strange}" if strange else ""
        yield Difference(
            kept.key, "log", end + 1, f"is missing; the archive goes on to event {last}{passed}"
        )


def _of_archive(kept: Kept, reach: int) -> Iterator[Difference]:
    lines = {int(line.seq): line for line in kept.archive}
    last = max([reach, *lines])
    for seq in range(1, last + 1):
        line = lines.get(seq)
        if line is None:
            yield Difference(kept.key, "archive", seq, "is missing")
        elif seq <= len(kept.log):
            yield from _of_line(kept, line, kept.log[seq - 1])
    for seq in sorted(lines):
        if seq < 1:
            yield Difference(kept.key, "archive", seq, "is no event of a chat")
    damage = chain(kept.key, kept.archive).damage
    if damage and last > len(kept.log):  # the log cannot say what the bytes should be
        yield Difference(kept.key, "archive", None, damage)


def _of_line(kept: Kept, line: Line, logged: Archived) -> Iterator[Difference]:
    if line.data != logged.data:
        yield Difference(kept.key, "archive", line.seq, "its bytes differ from the log's")
    if line.position != logged.position:
        what = f"position is {line.position}, in the log it is {logged.position}"
        yield Difference(kept.key, "archive", line.seq, what)


def _of_session(kept: Kept, truth: Sequence[Archived], reach: int) -> Iterator[Difference]:
    session = kept.session
    if session is None:
        if reach:
            yield Difference(kept.key, "session", None, "is missing, or damaged")
        return
    yield from _reached(kept.key, "session", session.last_seq, truth, reach)
    if (expected := _folded(truth, session.last_seq)) is not None:
        yield from _fields(kept.key, "session", session, expected.session)


def _of_messages(kept: Kept, truth: Sequence[Archived], reach: int) -> Iterator[Difference]:
    until = min(len(truth), reach if kept.session is None else kept.session.last_seq)
    expected = {} if not until else _by_seq(_all(truth, until).messages)
    found = {seq: one for seq, one in _by_seq(kept.messages).items() if seq <= until}
    for seq in sorted(expected.keys() | found.keys()):
        if seq not in found:
            yield Difference(kept.key, "messages", seq, "is missing")
        elif seq not in expected:
            yield Difference(kept.key, "messages", seq, "was never said")
        elif wrong := _unequal(found[seq], expected[seq]):
            yield Difference(kept.key, "messages", seq, f"differs in {wrong}")


def _by_seq(messages: Iterable[Message]) -> dict[int, Message]:
    return {int(message.seq): message for message in messages}


def _of_stats(kept: Kept, truth: Sequence[Archived], reach: int) -> Iterator[Difference]:
    stats = kept.stats
    if stats is None:
        if reach and kept.session is not None:
            yield Difference(kept.key, "statistics", None, "are missing, or damaged")
        return
    yield from _reached(kept.key, "statistics", stats.last_seq, truth, reach)
    if (expected := _folded(truth, stats.last_seq)) is not None:
        yield from _fields(kept.key, "statistics", stats, expected.stats)


def _of_summary(kept: Kept, truth: Sequence[Archived], reach: int) -> Iterator[Difference]:
    summary = kept.summary
    if summary is None:
        whole = _folded(truth, reach)
        if whole is not None and summary_of(whole.session) is not None:
            yield Difference(kept.key, "summary", None, "is missing, or damaged")
        return
    yield from _reached(kept.key, "summary", summary.last_seq, truth, reach)
    expected = _folded(truth, summary.last_seq)
    told = None if expected is None else summary_of(expected.session)
    if told is not None and (wrong := _unequal(summary, told)):
        yield Difference(kept.key, "summary", summary.last_seq, f"differs in {wrong}")


def _reached(
    key: ChatKey, where: Where, last_seq: int, truth: Sequence[Archived], reach: int
) -> Iterator[Difference]:
    if last_seq > len(truth):
        what = f"is as of this event; there are {len(truth)}"
        yield Difference(key, where, last_seq, what)
    elif last_seq < reach:
        yield Difference(key, where, last_seq, f"is as of this event; there are {reach}")


def _folded(truth: Sequence[Archived], until: int) -> Change | None:
    """What the events up to one make of the chat; none where there is no such event."""
    return _all(truth, until) if 1 <= until <= len(truth) else None


def _all(truth: Sequence[Archived], until: int) -> Change:
    made = advance(None, truth[:until])
    if made is None:
        raise ValueError("there is no event to fold")
    return made


def _fields(
    key: ChatKey,
    where: Where,
    found: Session | ChatStats,
    expected: Session | ChatStats,
) -> Iterator[Difference]:
    names = [field.name for field in fields(expected)]
    wrong = [name for name in names if getattr(found, name) != getattr(expected, name)]
    if wrong:
        yield Difference(key, where, expected.last_seq, f"differs in {', '.join(wrong)}")


def _unequal(found: BaseModel, expected: BaseModel) -> str:
    names = type(expected).model_fields
    wrong = [name for name in names if getattr(found, name) != getattr(expected, name)]
    return ", ".join(wrong)


def as_of(kept: Kept) -> Seq:
    """The last event that is known of a chat."""
    return Seq(len(_truth(kept)))

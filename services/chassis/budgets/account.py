"""The ledger of one account in JetStream: every entry is decided on the newest balance.

What callers want at the same time is stored in one message, so that processes compete for the end of
a ledger and calls do not.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from contracts import subjects
from contracts.budget_ledger import EMPTY, PAGE, Balance, Entry, Page
from contracts.ids import StreamSeq, new_message_id
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.errors import NatsUnavailableError, WrongLastSequenceError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import publish
from services.chassis.tasks import cancel_and_wait

BALANCE_EVERY = 128
"""Entries after which a message has the balance, too: so many are read to open an account."""
MAX_TOGETHER = 128
"""Decisions that one message has at most."""
OUTAGE_SECONDS = 30.0
"""How long a message is repeated while NATS is unavailable, as an append to a chat is."""
RETRY_SECONDS = 0.2


Result = TypeVar("Result", covariant=True)


@dataclass(frozen=True, slots=True)
class Decided(Generic[Result]):
    """Entries to be stored, and what the caller gets once they are.

    `is_final`: without entries, the result may come of an old balance, and is decided again on the
    newest one unless it is final in any case.
    """

    entries: Sequence[Entry]
    result: Result
    is_final: bool = False


Decide = Callable[[Balance], Decided[object]]


@dataclass(slots=True)
class _Wanted:
    decide: Decide
    answer: asyncio.Future[object]


@dataclass(frozen=True, slots=True)
class _Known:
    """A balance, the message that it was read up to, and the newest message with a balance.

    `entries` are those since that one.
    """

    balance: Balance = EMPTY
    position: StreamSeq = BEFORE_FIRST
    since: StreamSeq = BEFORE_FIRST
    entries: int = 0


class LedgerAccount:
    """One account as this process knows it. Close it, or its task is left running."""

    def __init__(self, gateway: JetStreamGateway, subject: str) -> None:
        self._gateway = gateway
        self._subject = subject
        self._known = _Known()
        self._wanted: list[_Wanted] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self._task is None or self._task.done()

    async def decide(self, decide: Callable[[Balance], Decided[Result]]) -> Result:
        """Store what `decide` returns for the newest balance; returns its result.

        `decide` may be called several times. Raises NatsUnavailableError, and what `decide` raises.
        """
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._wanted.append(_Wanted(decide, answer))
        if self.is_idle:
            self._task = asyncio.create_task(self._work(), name="write a ledger")
        return await answer  # type: ignore[return-value]  # the future gets what `decide` returned

    async def read(self) -> Balance:
        """The newest balance. Raises NatsUnavailableError."""
        await self._refresh()
        return self._known.balance

    async def aclose(self) -> None:
        if self._task is not None:
            await cancel_and_wait(self._task)
        for one in self._wanted:
            one.answer.cancel()

    async def _work(self) -> None:
        while self._wanted:
            together, self._wanted = self._wanted[:MAX_TOGETHER], self._wanted[MAX_TOGETHER:]
            try:
                await self._settle(together)
            except BaseException as error:
                for one in together:
                    if not one.answer.done():
                        _fail(one.answer, error)
                if not isinstance(error, Exception):
                    raise

    async def _settle(self, together: Sequence[_Wanted]) -> None:
        is_current = False
        while True:
            entries, results, needs_newest = self._decided(together)
            if needs_newest and not is_current:
                await self._refresh()
                is_current = True
                continue
            if entries and not await self._append(entries):
                await self._refresh()
                is_current = True
                continue
            for one, result in results:
                if not one.answer.done():
                    one.answer.set_result(result)
            return

    def _decided(
        self, together: Sequence[_Wanted]
    ) -> tuple[list[Entry], list[tuple[_Wanted, object]], bool]:
        """What to store for all of them, one decided on the balance after the other."""
        balance = self._known.balance
        entries: list[Entry] = []
        results: list[tuple[_Wanted, object]] = []
        needs_newest = self._known.position == BEFORE_FIRST
        for one in together:
            if one.answer.done():  # nobody waits any more: nothing may be held for it
                continue
            try:
                decided = one.decide(balance)
            except Exception as error:  # noqa: BLE001  the caller's own, which it is given
                _fail(one.answer, error)
                continue
            balance = balance.after(decided.entries)
            entries += decided.entries
            results.append((one, decided.result))
            needs_newest |= not decided.entries and not decided.is_final
        return entries, results, needs_newest

    async def _append(self, entries: Sequence[Entry]) -> bool:
        """Whether the entries are stored; not if the account has moved on. Raises NatsUnavailableError."""
        known = self._known
        balance = known.balance.after(entries)
        since = known.entries + len(entries)
        has_balance = since > BALANCE_EVERY or known.since == BEFORE_FIRST
        page = Page(
            page_id=new_message_id(),
            entries=tuple(entries),
            balance=balance if has_balance else None,
            since=None if has_balance else known.since,
        )
        position = await self._store(page.model_dump_json().encode(), known.position)
        if position is None:
            return False
        self._known = (
            _Known(balance, position, position)
            if has_balance
            else _Known(balance, position, known.since, since)
        )
        return True

    async def _store(self, data: bytes, after: StreamSeq) -> StreamSeq | None:
        """Where the message is stored, None where another one came first."""
        # No Nats-Msg-Id: the expected sequence rejects a repeat.
        headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        deadline = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        is_unanswered = False
        while True:
            try:
                nc, storage = self._gateway.nc, self._gateway.storage
                return (await publish(nc, storage, self._subject, data, headers)).position
            except WrongLastSequenceError:
                if not is_unanswered:
                    return None
                found = await self._gateway.reader.next(
                    subjects.BUDGETS, self._subject, StreamSeq(after + 1)
                )
                return found.position if found is not None and found.data == data else None
            except NatsUnavailableError:
                is_unanswered = True
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)

    async def _refresh(self) -> None:
        newest = await self._gateway.reader.last(subjects.BUDGETS, self._subject)
        if newest is None:
            self._known = _Known()
            return
        if newest.position == self._known.position:
            return
        page = _page(newest)
        if page.balance is not None:
            self._known = _Known(page.balance, newest.position, newest.position)
            return
        known = self._known
        if known.position < (page.since or 0) or newest.position < known.position:
            known = _Known(position=StreamSeq(max((page.since or 1) - 1, 0)))
        pages = self._gateway.reader.pages(
            subjects.BUDGETS, self._subject, known.position, goal=newest.position
        )
        async for message in pages:
            known = _after(known, message)
        self._known = known


def _after(known: _Known, message: RawMessage) -> _Known:
    page = _page(message)
    if page.balance is not None:
        return _Known(page.balance, message.position, message.position)
    balance = known.balance.after(page.entries)
    return _Known(balance, message.position, known.since, known.entries + len(page.entries))


def _page(message: RawMessage) -> Page:
    """Raises NatsUnavailableError: nothing may be decided on a ledger that cannot be read."""
    try:
        return PAGE.validate_json(message.data)
    except ValidationError as broken:
        raise NatsUnavailableError(
            f"message {message.position} of {subjects.BUDGETS} is no page of a ledger"
        ) from broken


def _fail(answer: asyncio.Future[object], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)

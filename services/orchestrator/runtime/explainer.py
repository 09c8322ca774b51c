"""Answers requests to explain a chat, which come over NATS from the transport."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts import subjects
from contracts.codec import Fact
from contracts.deltas import DELTA, WaitReported
from contracts.explanation import (
    ChatAccount,
    ExplanationFound,
    ExplanationRequested,
    RunnerExplained,
)
from contracts.ids import ChatKey, StreamSeq
from contracts.peers import PeerAnnounced, PeerHoldings
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.subscription import subscribed
from services.chassis.logs.repeats import RateLimitedLog
from services.orchestrator.domain.explanation import Story, account

log = logging.getLogger(__name__)

PEERS_SECONDS = 0.3
"""How long the processes of the queue may take to say which messages they hold."""
LARGEST_ANSWER = 900_000
"""Bytes, compressed: of a larger answer the tree of causes is left out."""


class Explainer:
    """Explains chats from their logs. `durable` is the consumer of commands."""

    def __init__(self, gateway: JetStreamGateway, durable: str) -> None:
        self._gateway = gateway
        self._durable = durable
        self._log = RateLimitedLog(log)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer until the end of the block; of several processes one answers each request."""
        nc = self._gateway.nc
        subscription = await nc.subscribe(
            subjects.EXPLANATIONS, queue=self._durable, cb=self._on_request, pending_msgs_limit=64
        )
        try:
            yield
        finally:
            with suppress(NatsError):  # the connection is closed, and its subscriptions with it
                await subscription.unsubscribe()

    async def _on_request(self, message: Msg) -> None:
        found = await self._answer(message.data)
        body = zlib.compress(found.model_dump_json().encode(), level=1)
        if len(body) > min(LARGEST_ANSWER, self._gateway.nc.max_payload) and found.account:
            smaller = found.account.model_copy(update={"causes": []})
            found = found.model_copy(update={"account": smaller})
            body = zlib.compress(found.model_dump_json().encode(), level=1)
        try:
            await self._gateway.nc.publish(message.reply, body)
        except (NatsError, OSError) as error:  # whoever asked asks again
            self._log.warning("an explanation could not be sent", why=repr(error))

    async def _answer(self, data: bytes) -> ExplanationFound:
        try:
            asked = ExplanationRequested.model_validate_json(data)
        except ValidationError:
            return ExplanationFound(problem="not a request to explain a chat")
        try:
            return ExplanationFound(
                account=await self.explain(ChatKey(asked.app_id, asked.chat_id))
            )
        except NatsUnavailableError as unavailable:
            return ExplanationFound(problem=str(unavailable))
        except Exception:  # a chat that cannot be folded is what an operator asks about
            log.exception("a chat cannot be explained")
            return ExplanationFound(problem="the chat cannot be folded: see the orchestrator's log")

    async def explain(self, key: ChatKey) -> ChatAccount:
        """The account of a chat, with what the queue and its processes know. Raises NatsUnavailableError."""
        story = Story()
        async for commit in self._gateway.events.read(key):
            for stored in commit.events:
                if stored.event is not None:
                    story.add(Fact(stored.envelope, stored.event))
        found = account(key, story, await self._last_wait(key))
        if found.runner is None:
            return found
        return found.model_copy(update={"runner": await self._runner(found.runner)})

    async def _last_wait(self, key: ChatKey) -> WaitReported | None:
        """The newest delta of a chat, if it is a wait."""
        message = await self._gateway.reader.last(subjects.DELTAS, subjects.delta(key))
        if message is None:
            return None
        try:
            delta = DELTA.validate_json(message.data)
        except ValidationError:
            return None
        return delta if isinstance(delta, WaitReported) else None

    async def _runner(self, runner: RunnerExplained) -> RunnerExplained:
        stored, held = await asyncio.gather(self._is_stored(runner.message), self._holdings())
        return runner.model_copy(
            update={
                "message_is_stored": stored,
                "processes": sorted(held),
                "holds_message": any(runner.message in one for one in held.values()),
            }
        )

    async def _is_stored(self, message: int) -> bool:
        at = StreamSeq(message)
        return await self._gateway.reader.at(subjects.COMMANDS, at) is not None

    async def _holdings(self) -> dict[str, list[int]]:
        """Which messages each process of the queue holds: of those that answer in time."""
        nc, found = self._gateway.nc, dict[str, list[int]]()

        async def on_message(message: Msg) -> None:
            with suppress(ValidationError):
                holdings = PeerHoldings.model_validate_json(message.data)
                found[holdings.process] = list(holdings.positions)

        inbox = nc.new_inbox()
        async with subscribed(nc, inbox, on_message):
            announced = PeerAnnounced(process=f"explain {inbox}", starting=True)
            data = announced.model_dump_json().encode()
            await nc.publish(subjects.peers(self._durable), data, reply=inbox)
            await asyncio.sleep(PEERS_SECONDS)
        return found

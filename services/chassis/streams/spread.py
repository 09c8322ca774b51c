"""Move events to more streams while chats go on.

Each new stream begins as a mirror of the one that holds its slots now, and a mirror has every message
at the position that it has there. Once it has caught up, the old stream ceases to accept events of the
slots, the mirror gets the last ones, and becomes a stream that accepts them. Every step is read off
the streams themselves, so that the command goes on where an earlier one ended. The reasons are in
docs/decisions/events-moved-by-mirrors.md.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from contracts import subjects
from contracts.event_streams import (
    BARRIERS,
    MOVING_KEY,
    NAMES_KEY,
    ORIGIN_KEY,
    ORIGIN_LAST_KEY,
    EventStreams,
    Move,
    barrier,
    metadata_of,
    origin_in,
    spread_over,
    streams_in,
    subjects_of,
)
from contracts.ids import StreamSeq
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_streams import TRUSTED_SECONDS
from services.chassis.jetstream.purge import purge
from services.chassis.streams.definitions import definitions
from services.chassis.streams.ensure import ask_stream_api, config_of
from services.chassis.streams.plan import Config

NOTICE_SECONDS = TRUSTED_SECONDS + 5.0
"""Until every process has read that events are being moved; more than a process may trust."""
CATCH_UP_SECONDS = 15.0
"""How long a slot may be without a stream that accepts its events: appends wait for longer."""
UNAVAILABLE_SECONDS = 120.0
"""How long the command tries again while NATS is unavailable."""
POLL_SECONDS = 0.25

Report = Callable[[str], None]
Step = Callable[[str], Awaitable[None]]


class SpreadError(Exception):
    """Why the events are not moved; nothing of them is lost."""


async def no_step(_: str) -> None:
    """Nothing is done between the steps."""


class Spreader:
    """Spreads the events over more streams. Again, it goes on where it ended."""

    def __init__(
        self,
        nc: Client,
        *,
        replicas: int,
        report: Report,
        notice_seconds: float = NOTICE_SECONDS,
        step: Step = no_step,
    ) -> None:
        """`step` is called with the name of each step before it, in tests."""
        self._nc = nc
        self._reader = DirectReader(nc)
        self._replicas = replicas
        self._report = report
        self._notice_seconds = notice_seconds
        self._step = step

    async def spread(self, count: int) -> None:
        """Move the events until they are in so many streams.

        Raises SpreadError, and NatsUnavailableError where NATS does not answer for long.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + UNAVAILABLE_SECONDS
        while True:
            try:
                await self._spread(spread_over(count))
            except NatsUnavailableError as error:
                if clock() > deadline:
                    raise
                self._report(f"NATS is unavailable, trying again: {error}")
                await asyncio.sleep(POLL_SECONDS)
            else:
                return

    async def _spread(self, wanted: EventStreams) -> None:
        found = streams_in((await self._config(subjects.EVENTS)).get("metadata") or {})
        there = len(found.names)
        if found.moving and found.names != wanted.names:
            raise SpreadError(f"the events are being moved to {there} streams: end that")
        if not found.moving and there >= len(wanted.names):
            if there > len(wanted.names):
                raise SpreadError(f"the events are in {there} streams, which stay")
            self._report(f"the events are in {there} streams")
            return
        moves = found.moves_to(wanted)
        await self._step("announce")
        moving = frozenset(move.target for move in moves)
        await self._announce(replace(wanted, moving=moving))
        for move in moves:
            await self._step("mirror")
            await self._mirror(move)
        if not await self._has_begun(moves):
            self._report(f"waiting {self._notice_seconds:.0f} s for every process to know")
            await asyncio.sleep(self._notice_seconds)
        for move in moves:
            if await self._is_mirror(move.target):
                await self._catch_up(move)
                await self._take_over(move)
        # Whoever reads from the old stream has begun before the new one took over.
        await asyncio.sleep(self._notice_seconds)
        for move in moves:
            await self._step("remove")
            await self._remove(move)
        await self._step("end")
        await self._announce(wanted)
        self._report(f"the events are in {len(wanted.names)} streams")

    # -- the steps ---------------------------------------------------------------------------------

    async def _announce(self, streams: EventStreams) -> None:
        config = await self._config(subjects.EVENTS)
        kept = {
            key: value
            for key, value in (config.get("metadata") or {}).items()
            if key not in (NAMES_KEY, MOVING_KEY)
        }
        await self._update({**config, "metadata": {**kept, **metadata_of(streams)}})

    async def _mirror(self, move: Move) -> None:
        """Begin to copy events, each to the position that it has."""
        if await config_of(self._nc, move.target) is not None:
            return
        origin = await self._config(move.origin)
        config = {
            key: value
            for key, value in self._defined(move.target).items()
            if key not in ("subjects", "republish")
        }
        copied = [{"src": one, "dest": one} for one in subjects_of(move.slots)]
        config["mirror"] = {"name": move.origin, "subject_transforms": copied}
        config["num_replicas"] = max(self._replicas, int(origin.get("num_replicas") or 1))
        self._report(f"copying slots {move.slots[0]} to {move.slots[-1]} to {move.target}")
        await self._ask("CREATE", move.target, config)

    async def _has_begun(self, moves: Iterable[Move]) -> bool:
        """Whether an earlier run has waited: nothing else goes on before."""
        for move in moves:
            caught = (await self._config(move.origin)).get("subjects") or []
            taken = set(subjects_of(move.slots))
            if not await self._is_mirror(move.target) or not (
                taken & set(caught) or subjects.ALL_EVENTS in caught
            ):
                return True
        return False

    async def _catch_up(self, move: Move) -> None:
        """Return once the mirror has what its origin has now."""
        last = await self._last(move)
        while (end := await self._end(move.target)) < last:
            self._report(f"{move.target} has events up to position {end} of {last}")
            await asyncio.sleep(POLL_SECONDS)

    async def _take_over(self, move: Move) -> None:
        """Let the target accept the events of its slots, after everything that the origin accepted."""
        await self._step("fence")
        try:
            await self._fence(
                move
            )  # where its answer is lost, the origin may be fenced all the same
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await self._step("barrier")
                await self._pass_barrier(move.origin)
                last = await self._last(move)
                while await self._end(move.target) < last:  # noqa: ASYNC110  # the server copies
                    await asyncio.sleep(POLL_SECONDS / 10)
                await self._remove_the_removed(move, last)
                await self._step("consumers")
                await self._copy_consumers(move, last)
        except (
            TimeoutError,
            SpreadError,
            NatsUnavailableError,
            asyncio.CancelledError,
        ) as stopped:
            await self._unfence(move)
            if not isinstance(stopped, TimeoutError):
                raise
            raise NatsUnavailableError(
                f"{move.target} does not get the last events in time: {move.origin} has its slots again"
            ) from stopped
        await self._step("promote")
        found = await self._config(move.target)
        defined = self._defined(move.target)
        came = {ORIGIN_KEY: move.origin, ORIGIN_LAST_KEY: str(last)}
        promoted = {
            **{key: value for key, value in found.items() if key != "mirror"},
            "subjects": subjects_of(move.slots),
            "republish": defined["republish"],
            "mirror_direct": False,
            "metadata": {**(found.get("metadata") or {}), **came},
        }
        await self._update(promoted)
        self._report(f"{move.target} takes new events, after position {last}")

    async def _fence(self, move: Move) -> None:
        config = await self._config(move.origin)
        caught = list(config.get("subjects") or [])
        if subjects.ALL_EVENTS in caught:
            caught.remove(subjects.ALL_EVENTS)
            caught += subjects_of(subjects.ALL_SLOTS)
        taken = set(subjects_of(move.slots))
        kept = [one for one in caught if one not in taken]
        if barrier(move.origin) not in kept:
            kept.append(barrier(move.origin))
        if kept != config.get("subjects"):
            await self._update({**config, "subjects": kept})

    async def _unfence(self, move: Move) -> None:
        config = await self._config(move.origin)
        caught = list(config.get("subjects") or [])
        missing = [one for one in subjects_of(move.slots) if one not in caught]
        await self._update({**config, "subjects": [*caught, *missing]})

    async def _pass_barrier(self, origin: str) -> None:
        """Return once everything is stored that the stream accepted before it was fenced."""
        try:
            reply = await self._nc.request(barrier(origin), b"", timeout=CATCH_UP_SECONDS)
        except (NatsError, OSError) as error:
            raise NatsUnavailableError(f"{origin}: {error!r}") from error
        if "error" in (answer := json.loads(reply.data)):
            raise NatsUnavailableError(f"{origin}: {answer['error'].get('description')}")

    async def _remove(self, move: Move) -> None:
        """Remove from the origin what the target has, and the subject that it had for the move."""
        came = origin_in((await self._config(move.target)).get("metadata") or {})
        if came is None or await self._last(move) > came.last:
            raise SpreadError(
                f"{move.origin} has events of {move.target} after position "
                f"{None if came is None else came.last}: nothing is removed"
            )
        for one in subjects_of(move.slots):
            await purge(self._nc, move.origin, {"filter": one})
        await purge(self._nc, move.origin, {"filter": barrier(move.origin)})
        config = await self._config(move.origin)
        kept = [one for one in config.get("subjects") or [] if not one.startswith(BARRIERS)]
        await self._update({**config, "subjects": kept})

    # -- what is the same in both --------------------------------------------------------------------

    async def _remove_the_removed(self, move: Move, last: StreamSeq) -> None:
        """Remove from the target what was removed from the origin after it was copied.

        What is removed later, from both, cannot come back: the target has everything by now.
        """
        for slot in move.slots:
            (caught,) = subjects_of([slot])
            kept, copied = await asyncio.gather(
                *(self._reader.counts_of(one, caught) for one in (move.origin, move.target))
            )
            chats = {one.rpartition(".")[0] for one in copied if copied[one] != kept.get(one)}
            for chat in sorted(chats):
                first = await self._reader.next(move.origin, f"{chat}.*", StreamSeq(1))
                before = last + 1 if first is None else first.position
                await purge(self._nc, move.target, {"filter": f"{chat}.*", "seq": before})

    async def _copy_consumers(self, move: Move, last: StreamSeq) -> None:
        """Every durable consumer of the origin goes on in the target with what it has not acknowledged."""
        there = {str(one["name"]) for one in await self._consumers(move.target)}
        for one in await self._consumers(move.origin):
            config = dict(one["config"])
            name = str(config.get("durable_name") or "")
            if not name or name in there:
                continue
            read = int(one.get("ack_floor", {}).get("stream_seq", 0))
            config.pop("opt_start_time", None)
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": min(read, last) + 1}
            body = {"stream_name": move.target, "config": config}
            await self._request(f"$JS.API.CONSUMER.DURABLE.CREATE.{move.target}.{name}", body)

    async def _consumers(self, stream: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            page = await self._request(f"$JS.API.CONSUMER.LIST.{stream}", {"offset": len(found)})
            found += page.get("consumers") or []
            if not page.get("consumers") or len(found) >= page.get("total", 0):
                return found

    # -- requests ------------------------------------------------------------------------------------

    def _defined(self, stream: str) -> Config:
        everything = definitions(self._replicas, spread_over(16))
        return next(one for one in everything if one["name"] == stream)

    async def _last(self, move: Move) -> StreamSeq:
        """The position of the last event of the slots in the origin."""
        newest = [await self._reader.last(move.origin, one) for one in subjects_of(move.slots)]
        return max((one.position for one in newest if one is not None), default=StreamSeq(0))

    async def _end(self, stream: str) -> StreamSeq:
        return StreamSeq((await self._info(stream))["state"]["last_seq"])

    async def _is_mirror(self, stream: str) -> bool:
        return bool((await self._config(stream)).get("mirror"))

    async def _config(self, stream: str) -> Config:
        config: Config = (await self._info(stream))["config"]
        return config

    async def _info(self, stream: str) -> Mapping[str, Any]:
        return await self._ask("INFO", stream, {})

    async def _update(self, config: Config) -> None:
        await self._ask("UPDATE", str(config["name"]), config)

    async def _ask(self, verb: str, stream: str, body: Config) -> Mapping[str, Any]:
        try:
            return await ask_stream_api(self._nc, verb, stream, body)
        except APIError as rejected:
            raise SpreadError(f"{verb} {stream}: {rejected.description}") from rejected

    async def _request(self, api: str, body: Config) -> Mapping[str, Any]:
        try:
            reply = await self._nc.request(api, json.dumps(body).encode(), timeout=5)
        except (NatsError, OSError) as error:
            raise NatsUnavailableError(f"{api}: {error!r}") from error
        answer: Mapping[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise SpreadError(f"{api}: {answer['error'].get('description')}")
        return answer

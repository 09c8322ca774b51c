"""Fork: what it costs to fork a long chat over HTTP, beside starting a new chat."""

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure
from benchmarks.load.workflow import NAME, write_workflow
from contracts.events.turn import USER, SpeakerSelected
from contracts.ids import ChatKey, Seq
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

EVENTS = 10_000
EVENTS_PER_TURN = 11
REPETITIONS = 20
UNKNOWN = 3
"""Chats that the transport has not read before."""
AIM = Aim(ratio=1.2)
REQUEST_SECONDS = 30.0


class NotBegunError(Exception):
    """A chat was not begun when the request was answered: the figure would mean nothing."""


async def measure(server: NatsServer) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-fork-") as folder:
        write_workflow(Path(folder))
        environment = {"WORKFLOWS_PATH": folder}
        async with (
            stage.gateway(server) as gateway,
            stage.process("orchestrator", server, environment),
            stage.process("transport", server) as transport,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{transport.port}", timeout=REQUEST_SECONDS
            ) as http,
        ):
            stored = [await _store(gateway) for _ in range(UNKNOWN + 1)]
            last, middle = EVENTS, Seq(1 + EVENTS // 2 // EVENTS_PER_TURN * EVENTS_PER_TURN)
            known = stored.pop()
            for warm in (_start(http), _fork(http, known, None), _fork(http, known, middle)):
                await warm  # what is loaded once is nobody's
            first = [(await _fork(http, key, None), await _start(http)) for key in stored]
            await _open(http, known)
            again = [
                (
                    await _fork(http, known, None),
                    await _fork(http, known, middle),
                    await _start(http),
                )
                for _ in range(REPETITIONS)
            ]
    newest, middles, starts = zip(*again, strict=True)
    name, note = f"fork a chat of {last:,} events", "floor: start a chat, until it has begun"
    return [
        Figure(f"{name} at its end", "ms", newest, starts, AIM, note=note),
        Figure(f"{name} at event {middle:,}", "ms", middles, starts, AIM, note=note),
        Figure(
            f"{name} at its end, unknown to the process",
            "ms",
            [one for one, _ in first],
            [floor for _, floor in first],
            note="nothing is folded",
        ),
    ]


async def _store(gateway: JetStreamGateway) -> ChatKey:
    key = chats.new_chat()
    decisions = chats.sealed(key, _story((EVENTS - 1) // EVENTS_PER_TURN))
    if decisions[-1].head.seq != EVENTS:
        raise NotBegunError(f"{decisions[-1].head.seq} events")
    await chats.store(gateway, decisions)
    return key


async def _open(http: httpx.AsyncClient, key: ChatKey) -> None:
    """Let the transport know a chat, as a page that shows it does."""
    path = f"/api/chats/{key.app}/{key.chat}/state"
    (await http.get(path, params={"user_id": chats.PERSON})).raise_for_status()


def _story(turns: int) -> list[chats.Group]:
    groups: list[chats.Group] = [[chats.STARTED]]
    for number in range(1, turns + 1):
        events = [event for group in chats.turn(number) for event in group]
        waits = SpeakerSelected(turn=number + 1, agent=USER, by="after_work")
        groups += [events[:5], [*events[5:], waits]]  # as few messages as a turn may have
    return groups


async def _start(http: httpx.AsyncClient) -> float:
    return await _posted(http, f"/api/chats/{chats.APP}/{NAME}/start", {})


async def _fork(http: httpx.AsyncClient, key: ChatKey, seq: int | None) -> float:
    return await _posted(http, f"/api/chats/{key.app}/{key.chat}/fork", {"seq": seq})


async def _posted(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> float:
    """Milliseconds until the chat has begun."""
    began = perf_counter()
    answer = await http.post(path, json={"user_id": chats.PERSON, **body})
    taken = 1000 * (perf_counter() - began)
    if answer.status_code != httpx.codes.OK:
        raise NotBegunError(f"{path}: {answer.status_code} {answer.text:.200}")
    return taken

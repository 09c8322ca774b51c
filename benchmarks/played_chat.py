"""Played chats: what a turn costs in the tests of workflows, with and without a recorded chat."""

import gc
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

from benchmarks.figures import Aim, Figure
from contracts.events.turn import ModelResponded
from infra.servers import NatsServer
from infra.stack import ROOT
from services.orchestrator.testkit import Component, PlayedChat, play
from services.orchestrator.testkit.cassette import cassette_of, compared, first_difference
from services.orchestrator.testkit.replay import replay_cassette
from services.orchestrator.workflows.loading import LoadedWorkflow, load

REPETITIONS = 7
TURNS = 20
AIM = Aim(limit=100)
HELLO, POSTCARD = ROOT / "workflows" / "HelloWorld", ROOT / "workflows" / "Postcard"
SALE: tuple[Any, ...] = (
    "a birthday",
    Component({"approved": True}),
    Component({"quantity": 10}),
)


class WrongChatError(Exception):
    """The chat is not the one that was meant: the figure would mean nothing."""


async def measure(_: NatsServer) -> list[Figure]:
    """No server is used."""
    loaded = load(POSTCARD)
    if not isinstance(loaded, LoadedWorkflow):
        raise WrongChatError(loaded.problems)
    sale = await play(POSTCARD, SALE)
    cassette = cassette_of(sale.facts, loaded.workflow)

    async def long_chat() -> PlayedChat:
        return await play(HELLO, ["and then?"] * TURNS)

    async def replayed() -> PlayedChat:
        chat = await replay_cassette(POSTCARD, cassette)
        if difference := first_difference(cassette.events, compared(chat.events)):
            raise WrongChatError(difference)
        return chat

    return [
        await _figure(f"played turn of {TURNS}", long_chat, TURNS),
        await _figure("replayed turn with tools", replayed, len(sale.of(ModelResponded))),
    ]


async def _figure(name: str, chat: Callable[[], Awaitable[PlayedChat]], turns: int) -> Figure:
    """Process time for each model call, the loading of the workflow included."""
    costs = []
    for _ in range(REPETITIONS):
        gc.collect()
        begin = process_time()
        played = await chat()
        costs.append(1000 * (process_time() - begin) / turns)
        if len(played.of(ModelResponded)) != turns:
            raise WrongChatError(f"{len(played.of(ModelResponded))} model calls, not {turns}")
    return Figure(name, "ms", costs, aim=AIM, note="with the loading of the workflow")

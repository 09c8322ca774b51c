"""Answers that are stopped, cancelled or lost at random words: live and fresh clients show the same.

    python -m tests.system.interruptions --count 1000

starts NATS, a transport and two orchestrators with the demo model, and lets users of the client package
watch answers while they are interrupted. What each of them has rendered, of live deltas and events, is
compared with what a client renders that opens the chat afterwards. Prints how many were equal.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from contracts.wire.frames import ChatEndedData, PrintData, SpeakerData, TextData
from infra.ports import free_port
from infra.stack import waiting_for
from mozaiks_client import Client
from mozaiks_client.chat import Chat
from mozaiks_client.frames import Frame
from services.chassis.settings import Settings
from tests.forked import ForkedChild
from tests.secured_nats import SecuredNats
from tests.system.stage import bus_at

WORDS = 40
WORD_SECONDS = 0.02
PARALLEL = 12
"""Answers that run at the same time; a kill interrupts all of one process."""
LIMIT_SECONDS = 60.0
"""How long one answer may take until it is the user's turn again, takeovers included."""
READY_SECONDS = 60.0

Interruption = Literal["stop", "cancel", "kill"]
Message = tuple[str, str, str | None]
"""Who says what, and why it ends early."""


@dataclass
class Rendering:
    """What a page shows of a chat: whole messages, and the text that is being streamed.

    `lost` are texts that were shown and are not the beginning of what is kept.
    """

    messages: list[Message] = field(default_factory=list)
    streamed: str = ""
    lost: list[str] = field(default_factory=list)
    _stream: tuple[int, int, str] | None = None

    def show(self, frame: Frame) -> None:
        match frame.data:
            case PrintData(turn=turn, call=call, runner=runner, offset=offset, content=content):
                if (turn, call, runner) != self._stream:
                    self._end("")
                    self._stream = (turn, call, runner)
                self.streamed = self.streamed[:offset] + content
            case TextData(role="user", content=text):
                self.messages.append(("user", text, None))
            case TextData(agent=agent, content=text, interrupted=reason):
                self._end(text)
                self.messages.append((agent, text, reason))
            case _:
                pass

    def _end(self, kept: str) -> None:
        if not kept.startswith(self.streamed):
            self.lost.append(self.streamed)
        self._stream, self.streamed = None, ""


@dataclass(frozen=True)
class Outcome:
    """One interrupted answer: what was rendered while it ran, and what is rendered of it later."""

    how: Interruption
    live: Rendering
    fresh: Rendering

    @property
    def is_interrupted(self) -> bool:
        return any(reason is not None for _, _, reason in self.fresh.messages)

    @property
    def is_equal(self) -> bool:
        kept = self.live.messages == self.fresh.messages
        return kept and not self.live.lost and not self.live.streamed


def write_workflow(folder: Path) -> Path:
    """A workflow with one agent that speaks for a while; then it is the user's turn."""
    place = folder / "workflows" / "Talk"
    place.mkdir(parents=True)
    words = " ".join(f"word-{number}" for number in range(WORDS))
    sections = {
        "workflow": {
            "workflow_name": "Talk",
            "orchestration_pattern": "DefaultPattern",
            "human_in_the_loop": True,
        },
        "agents": {"agents": [{"name": "Speaker"}]},
        "handoffs": {
            "handoff_rules": [
                {"source_agent": "Speaker", "target_agent": "user", "handoff_type": "after_work"}
            ]
        },
        "demo": {"agents": {"Speaker": {"lines": [{"say": words}]}}},
    }
    for name, section in sections.items():
        (place / f"{name}.json").write_text(json.dumps(section))
    return place.parent


class Stage:
    """NATS, a transport and two orchestrators, which can be killed and are replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = SecuredNats(folder)
        self._workflows = write_workflow(folder)
        self._transport, port = self._child("transport")
        self.address = f"http://127.0.0.1:{port}"
        self.orchestrators: list[ForkedChild] = []

    def start(self) -> None:
        """Returns once all of them are ready."""
        self._server.start()
        asyncio.run(ensured(self._server.settings))
        self.add_orchestrator()
        self.add_orchestrator()
        self._transport.start()
        port = int(self.address.rpartition(":")[2])
        self._transport.wait_until(lambda: not waiting_for(port), READY_SECONDS)

    def stop(self) -> None:
        for child in (*self.orchestrators, self._transport):
            child.kill()
        self._server.end()

    def add_orchestrator(self) -> None:
        child, port = self._child("orchestrator")
        self.orchestrators.append(child)
        child.start()
        child.wait_until(lambda: not waiting_for(port), READY_SECONDS)

    def kill_orchestrator(self, draw: Random) -> None:
        """Kill one of the two, and start another."""
        victim = self.orchestrators.pop(draw.randrange(len(self.orchestrators)))
        victim.kill()
        self.add_orchestrator()

    def _child(self, name: str) -> tuple[ForkedChild, int]:
        port = free_port()
        variables = {
            **self._server.environment_of(name),
            "OPENAI_API_KEY": "",
            "WORKFLOWS_PATH": str(self._workflows),
            "DEMO_WORD_DELAY_SECONDS": str(WORD_SECONDS),
            "LOG_LEVEL": "ERROR",
            f"{name.upper()}_PORT": str(port),
        }
        log = self._folder / f"{name}-{port}.log"
        return ForkedChild(name, f"services.{name}", log, variables), port


async def ensured(settings: Settings) -> None:
    async with bus_at(settings):
        pass


@asynccontextmanager
async def running_stage(folder: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder)
    try:
        await asyncio.to_thread(stage.start)
        yield stage
    finally:
        await asyncio.to_thread(stage.stop)


async def watched(
    chat: Chat, word: int, interrupt: Callable[[], asyncio.Future[None] | None]
) -> Rendering:
    """What a user sees of a chat that is interrupted once so many of its words are shown."""
    rendering, spoke = Rendering(), False
    pending: list[asyncio.Future[None]] = []
    async with asyncio.timeout(LIMIT_SECONDS), aclosing(chat.stream()) as frames:
        async for frame in frames:
            rendering.show(frame)
            spoke = spoke or _is_answer(frame)
            if not pending and len(rendering.streamed.split()) > word:
                pending = [one] if (one := interrupt()) is not None else pending
            if spoke and _is_over(frame):
                break
    await asyncio.gather(*pending)
    return rendering


def _is_answer(frame: Frame) -> bool:
    """Whether it has words of the answer: whole ones, if the answer was over before it was watched."""
    match frame.data:
        case PrintData():
            return True
        case TextData(role=role):
            return role != "user"
        case _:
            return False


def _is_over(frame: Frame) -> bool:
    match frame.data:
        case SpeakerData(selected_speaker="user") | ChatEndedData():
            return True
        case _:
            return False


async def rendered_later(chat: Chat) -> Rendering:
    """What a client renders that opens the chat now."""
    rendering = Rendering()
    async with asyncio.timeout(LIMIT_SECONDS), aclosing(chat.stream()) as frames:
        async for frame in frames:
            rendering.show(frame)
            if frame.type == "chat.resume_boundary":
                break
    return rendering


async def interrupted_by_user(client: Client, draw: Random) -> Outcome:
    """One answer that its user stops, or cancels with the chat."""
    chat = await client.start("Talk", "Go on.")
    how: Interruption = "stop" if draw.random() < 0.7 else "cancel"

    def interrupt() -> asyncio.Future[None]:
        return asyncio.ensure_future(_discard(chat.stop() if how == "stop" else chat.cancel()))

    live = await watched(chat, draw.randrange(WORDS - 5), interrupt)
    return Outcome(how, live, await rendered_later(chat))


async def _discard(request: object) -> None:
    await request  # type: ignore[misc]


async def interrupted_by_kill(client: Client, kill: Callable[[], None]) -> Outcome:
    """One answer that goes on while an orchestrator is killed."""
    chat = await client.start("Talk", "Go on.")

    def interrupt() -> None:
        kill()

    live = await watched(chat, 0, interrupt)
    return Outcome("kill", live, await rendered_later(chat))


async def user_round(client: Client, draw: Random) -> list[Outcome]:
    return await asyncio.gather(*(interrupted_by_user(client, draw) for _ in range(PARALLEL)))


async def kill_round(client: Client, stage: Stage, draw: Random) -> list[Outcome]:
    """Answers that run side by side; at a random moment after their first words one process is killed."""
    spoke = [0]
    all_speak = asyncio.Event()

    def note() -> None:
        spoke[0] += 1
        if spoke[0] >= PARALLEL // 2:
            all_speak.set()

    answers = asyncio.gather(*(interrupted_by_kill(client, note) for _ in range(PARALLEL)))
    speaking = asyncio.create_task(all_speak.wait())
    either: list[asyncio.Future[Any]] = [speaking, answers]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    speaking.cancel()
    await asyncio.sleep(draw.random() * WORDS * WORD_SECONDS / 2)
    await asyncio.to_thread(stage.kill_orchestrator, draw)
    return await answers


async def interrupt_answers(
    stage: Stage, count: int, draw: Random, report: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """At least `count` interrupted answers, a third of the rounds by kills."""
    found: list[Outcome] = []
    async with Client(stage.address, app="acme", user="ana", timeout=LIMIT_SECONDS) as client:
        for number in range(count):  # far fewer are needed
            kills = number % 3 == 1
            outcomes = await (
                kill_round(client, stage, draw) if kills else user_round(client, draw)
            )
            found += [one for one in outcomes if one.is_interrupted or not one.is_equal]
            report(f"{len(found)} interrupted, {sum(one.is_equal for one in found)} equal")
            if len(found) >= count:
                break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.interruptions")
    parser.add_argument("--count", type=int, default=1000, help="interrupted answers")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="interruptions-") as folder:
        found = asyncio.run(_run(Path(folder), given.count, Random(given.seed)))
    for one in found:
        if not one.is_equal:
            print(f"{one.how}: live {one.live}, fresh {one.fresh}")
    equal = sum(one.is_equal for one in found)
    print(f"by: {dict(Counter(one.how for one in found))}")
    print(f"interrupted answers: {len(found)}; live and fresh client equal: {equal}")
    return 0 if equal == len(found) else 1


async def _run(folder: Path, count: int, draw: Random) -> list[Outcome]:
    async with running_stage(folder) as stage:
        return await interrupt_answers(stage, count, draw, lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())

"""Kill real orchestrators while tools that must be called once stand at every point of their call."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.codec import Fact
from contracts.commands import AnswerQuestion, StartChat
from contracts.events.chat import ChatFailed
from contracts.events.human import HumanAsked
from contracts.events.turn import ToolReturned
from contracts.ids import AppId, ChatId, ChatKey, CommandId, UserId, WorkflowName
from infra.ports import free_port
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.once_tools import orchestrator
from tests.once_tools.workflow import (
    DONE_BEFORE,
    IN_DOUBT,
    POINTS,
    POLICIES,
    Policy,
    write_workflows,
)
from tests.secured_nats import SecuredNats
from tests.system.stage import ENDINGS, bus_at

APP, USER = AppId("shop"), UserId("ana")
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One chat, the policy of its tool, and where its process is killed during the call."""

    chat: str
    policy: Policy
    point: str

    @property
    def key(self) -> ChatKey:
        return ChatKey(APP, ChatId(self.chat))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: its effects, the questions about it, and its result or failure."""

    call: Call
    effects: int
    questions: int
    result: ToolReturned | None
    failure: str | None

    def problems(self) -> Iterator[str]:
        """What is not as it must be."""
        call, where = self.call, f"{self.call.policy}, killed at {self.call.point}"
        if self.effects > 1:
            yield f"{where}: {self.effects} effects"
        in_doubt = call.point in IN_DOUBT
        if self.questions != int(in_doubt and call.policy == "ask"):
            yield f"{where}: {self.questions} questions"
        if self.told != int(in_doubt and call.policy == "tell"):
            yield f"{where}: the model was told {self.told} times that the outcome is unknown"
        if (self.failure == "TOOL_IN_DOUBT") != (in_doubt and call.policy == "fail"):
            yield f"{where}: failure {self.failure}"
        expected = 1 if call.policy in ("ask", "check") else int(not in_doubt)
        if in_doubt and call.policy in ("tell", "fail"):
            expected = int(call.point in DONE_BEFORE)
        if self.effects != expected:
            yield f"{where}: {self.effects} effects where {expected} were expected"

    @property
    def told(self) -> int:
        result = self.result
        return int(result is not None and result.status == "unknown" and result.error is None)


def plan(kills: int) -> list[Call]:
    """So many calls: every point with every policy in turn."""
    pairs = [(policy, point) for point in POINTS for policy in POLICIES]
    return [Call(f"c{number}", *pairs[number % len(pairs)]) for number in range(kills)]


async def run(folder: Path, kills: int, width: int) -> list[Outcome]:
    """Make the calls, of which `width` are under way in each process that is killed."""
    await asyncio.to_thread(write_workflows, folder / "workflows")
    server = SecuredNats(folder)
    await asyncio.to_thread(server.start)
    try:
        async with bus_at(server.settings) as gateway:
            calls, outcomes = plan(kills), list[Outcome]()
            for first in range(0, len(calls), width):
                batch = calls[first : first + width]
                outcomes += await _killed(batch, gateway, _environment(folder, server), folder)
            return outcomes
    finally:
        await asyncio.to_thread(server.end)


def _environment(folder: Path, server: SecuredNats) -> dict[str, str]:
    return {
        **server.environment_of("orchestrator"),
        "ORCHESTRATOR_PORT": str(free_port()),
        "OPENAI_API_KEY": "",
        "WORKFLOWS_PATH": str(folder / "workflows"),
        "ONCE_TOOLS_FOLDER": str(folder),
        "DEMO_WORD_DELAY_SECONDS": "0",
        "LOG_LEVEL": "ERROR",
        "MAX_APP_SHARE": "1",  # all chats are of one app
    }


async def _killed(
    batch: Sequence[Call], gateway: JetStreamGateway, environment: dict[str, str], folder: Path
) -> list[Outcome]:
    """Start the chats, kill their process where all of them stand, and let another one go on."""
    for call in batch:
        (folder / f"{call.chat}.plan").write_text(call.point)
    first = orchestrator.start(environment)
    second = None
    try:
        for call in batch:
            await gateway.commands.send(
                StartChat(
                    command_id=CommandId(f"start-{call.chat}"),
                    app_id=APP,
                    chat_id=call.key.chat,
                    user_id=USER,
                    workflow_name=WorkflowName(call.policy.capitalize()),
                )
            )
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all((folder / f"{one.chat}.reached").exists() for one in batch):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        first.kill()
        await asyncio.to_thread(first.join, 30)
        for call in batch:
            (folder / f"{call.chat}.plan").unlink()
        second = orchestrator.start({**environment, "ORCHESTRATOR_PORT": str(free_port())})
        return list(await asyncio.gather(*(_outcome(call, gateway, folder) for call in batch)))
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.join, 30)


async def _outcome(call: Call, gateway: JetStreamGateway, folder: Path) -> Outcome:
    """Answer what is asked about the call as somebody who looks at the world, until the chat ends."""
    answered: set[str] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            facts = await _history(gateway, call.key)
            if facts and facts[-1].envelope.type in ENDINGS:
                break
            for asked in _questions(facts):
                if asked.question_id not in answered:
                    answered.add(asked.question_id)
                    await gateway.commands.send(_answer(call, asked, _effects(call, folder)))
            await asyncio.sleep(0.05)
    results = [fact.event for fact in facts if isinstance(fact.event, ToolReturned)]
    failures = [fact.event.code for fact in facts if isinstance(fact.event, ChatFailed)]
    return Outcome(
        call,
        _effects(call, folder),
        len(_questions(facts)),
        results[-1] if results else None,
        failures[-1] if failures else None,
    )


async def _history(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    try:
        return [fact async for commit in gateway.events.read(key) for fact in commit.facts]
    except NatsUnavailableError:
        return []


def _questions(facts: Sequence[Fact]) -> list[HumanAsked]:
    return [fact.event for fact in facts if isinstance(fact.event, HumanAsked)]


def _effects(call: Call, folder: Path) -> int:
    effects = folder / f"{call.chat}.effects"
    return len(effects.read_text().splitlines()) if effects.exists() else 0


def _answer(call: Call, asked: HumanAsked, effects: int) -> AnswerQuestion:
    return AnswerQuestion(
        command_id=CommandId(f"answer-{asked.question_id}"),
        app_id=APP,
        chat_id=call.key.chat,
        user_id=USER,
        question_id=asked.question_id,
        text="It happened: charged" if effects else "Do it again",
    )


def report(outcomes: Sequence[Outcome]) -> str:
    """The numbers of a run, and every problem."""
    problems = [one for outcome in outcomes for one in outcome.problems()]
    doubts = [one for one in outcomes if one.call.point in IN_DOUBT]
    by_policy = Counter(one.call.policy for one in doubts)
    lines = [
        f"{len(outcomes)} calls killed at {len(POINTS)} points, {len(doubts)} left in doubt",
        f"second effects: {sum(max(one.effects - 1, 0) for one in outcomes)}",
        f"ask: {by_policy['ask']} doubts, {sum(one.questions for one in outcomes)} questions",
        f"tell: {by_policy['tell']} doubts, {sum(one.told for one in outcomes)} told as unknown",
        (
            f"fail: {by_policy['fail']} doubts, "
            f"{sum(one.failure == 'TOOL_IN_DOUBT' for one in outcomes)} failed"
        ),
        (
            f"check: {by_policy['check']} doubts, "
            f"{sum(one.questions for one in doubts if one.call.policy == 'check')} questions"
        ),
        f"problems: {len(problems)}",
    ]
    return "\n".join([*lines, *problems])

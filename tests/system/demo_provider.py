"""A provider that answers as the demo model would: each agent of each workflow with its lines.

The product's tests use it in place of the demo model, so that requests are sent, and are checked as a
strict provider checks them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from contracts.events.turn import SELECTOR
from services.orchestrator.agents.models.demo import NO_MORE_REPLIES
from services.orchestrator.domain.agent_conversation import selector_prompt
from services.orchestrator.workflows.builtin import builtin_folders
from services.orchestrator.workflows.demo import DemoReply, DemoScript
from services.orchestrator.workflows.loading import LoadedWorkflow, load, load_all
from tests.system.model_stub import Answer, ModelStub, Request


@contextmanager
def demo_provider(workflows: Path, seconds_per_word: float) -> Iterator[ModelStub]:
    """Runs until the end of the block; raises AssertionError there if a request was refused."""
    stub = ModelStub(demo_script(workflows))
    stub.hold = lambda _chat, _chunk: sleep(seconds_per_word)
    stub.start()
    try:
        yield stub
    finally:
        stub.stop()


@dataclass(frozen=True, slots=True)
class _Agent:
    """An agent's lines, and the beginning of its prompt that no variable changes."""

    prompt: str
    script: DemoScript


def demo_script(workflows: Path) -> Callable[[Request], Answer]:
    """Answers by the lines of `demo.json`; the folder is read again for an agent it did not have."""
    agents: list[_Agent] = []

    def answer(request: Request) -> Answer:
        if _asked(agents, request) is None:
            agents[:] = _agents(workflows)
        asked, messages = _asked(agents, request), request["messages"]
        if asked is None:
            raise LookupError(f"no agent has this prompt: {messages[0]['content'][:200]}")
        spoken = sum(one["role"] == "assistant" for one in messages)
        reply = asked.script.reply(spoken) or DemoReply(say=NO_MORE_REPLIES)
        values = {"{user}": _last_user_message(messages), "{result}": _last_results(messages)}
        calls = [(call.tool, _filled(call.arguments, values)) for call in reply.calls]
        return {"content": _filled(reply.say, values), "tool_calls": calls}

    return answer


def _agents(workflows: Path) -> Iterator[_Agent]:
    for loaded in [*load_all(workflows), *map(load, builtin_folders())]:
        if isinstance(loaded, LoadedWorkflow):
            for name, agent in loaded.workflow.agents.items():
                beginning = agent.prompt.partition("{")[0].strip()
                yield _Agent(beginning, loaded.demo.script(name))
            yield _Agent(selector_prompt(loaded.workflow), loaded.demo.script(SELECTOR))


def _asked(agents: Iterable[_Agent], request: Request) -> _Agent | None:
    """The agent whose prompt begins the request's, and whose lines call only tools that are offered.

    Of several it is the one that has most of the prompt, then the one that calls most tools.
    """
    prompt = request["messages"][0]["content"].strip()
    offered = {tool["function"]["name"] for tool in request.get("tools", [])}
    fitting = [
        one
        for one in agents
        if prompt.startswith(one.prompt) and offered.issuperset(one.script.tool_names)
    ]
    return max(fitting, key=lambda one: (len(one.prompt), len(one.script.tool_names)), default=None)


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _last_user_message(messages: list[dict[str, Any]]) -> str:
    return next((_text(one) for one in reversed(messages) if one["role"] == "user"), "")


def _last_results(messages: list[dict[str, Any]]) -> str:
    """The results of the last calls, in order."""
    results: list[str] = []
    for one in reversed(messages):
        if one["role"] == "tool":
            results.insert(0, _text(one))
        elif results:
            break
    return " ".join(results)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    match value:
        case str():
            for placeholder, text in values.items():
                value = value.replace(placeholder, text)
            return value
        case dict():
            return {key: _filled(inner, values) for key, inner in value.items()}
        case list():
            return [_filled(inner, values) for inner in value]
        case _:
            return value

"""Show what was sent to a model: prompt, messages, tools and settings, from the log of the chat."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.codec import Fact
from contracts.events.turn import ModelResponded
from contracts.ids import AgentName, ChatKey
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.orchestrator.agents.execution.offered import Offer, offered_by
from services.orchestrator.agents.execution.sent_request import SentRequest, sent_requests
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.state import replay
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.spec import ModelChoice, Workflow


class NothingToShowError(Exception):
    """There is no such chat, or it made no model request; the message says which."""


@dataclass(frozen=True, slots=True)
class ChatAsRun:
    """The events of a chat, and the workflow's version that it runs; None where it is not available."""

    facts: list[Fact]
    version: WorkflowVersion | None

    @property
    def workflow(self) -> Workflow | None:
        return None if self.version is None else self.version.workflow


async def read_chat(
    settings: Settings, environment: Mapping[str, str], models: ModelFactory, key: ChatKey
) -> ChatAsRun:
    """Raises NothingToShowError, NatsUnavailableError."""
    async with one_shot_gateway(settings, "orchestrator") as gateway:
        facts = await facts_of_chat(gateway, key)
        registry = VersionRegistry(
            settings.workflows_path.resolve(),
            models,
            environment,
            BundleStore(gateway),
            settings.max_model_calls_per_turn,
        )
        await registry.load()
        return ChatAsRun(facts, await registry.version_of(replay(facts)))


async def facts_of_chat(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    """The events with their whole values. Raises NothingToShowError, NatsUnavailableError."""
    try:
        return await _whole_facts(gateway, key)
    except ValueLostError as lost:
        raise NothingToShowError(str(lost)) from lost


async def _whole_facts(gateway: JetStreamGateway, key: ChatKey) -> list[Fact]:
    facts = [
        fact
        async for commit in gateway.events.read(key)
        for stored in commit.events
        if (fact := (await gateway.values.whole(stored)).fact) is not None
    ]
    if not facts:
        raise NothingToShowError(f"there is no chat {key.chat} of app {key.app}")
    return facts


async def shown_request(
    settings: Settings,
    environment: Mapping[str, str],
    models: ModelFactory,
    key: ChatKey,
    turn: int | None,
) -> dict[str, Any]:
    """The last model request of a chat, or of one turn, as a JSON object.

    Raises NothingToShowError, NatsUnavailableError.
    """
    chat = await read_chat(settings, environment, models, key)
    request = None
    for request in sent_requests(chat.facts, chat.workflow, turn):  # noqa: B007  the last one
        pass
    if request is None:
        where = "" if turn is None else f" in turn {turn}"
        raise NothingToShowError(f"chat {key.chat} made no model request{where}")
    return {
        **as_json(request),
        **_offered(chat, request.agent),
        "settings": _settings_of(chat, request, settings, models),
    }


def as_json(request: SentRequest) -> dict[str, Any]:
    """The request as JSON values, without what is not in the log."""
    return {
        "seq": request.seq,
        "turn": request.turn,
        "call": request.call,
        "agent": request.agent,
        "is_exact": request.is_exact,
        "prompt": list(request.prompt),
        "messages": list(request.messages),
        "native": [
            {"message": number, **answer.model_dump(mode="json")}
            for number, answer in request.native.items()
        ],
    }


def _offered(chat: ChatAsRun, name: AgentName) -> dict[str, Any]:
    """The tools and the form of the answer, by the workflow's version and the newest code."""
    agent = None if chat.version is None else chat.version.agent_set.agents.get(name)
    offer = Offer() if agent is None else offered_by(agent)
    declared = None if chat.workflow is None else chat.workflow.agents.get(name)
    servers = () if declared is None else declared.mcp_servers
    return {
        "tools": list(offer.tools),
        "mcp_servers": [server.name for server in servers],
        "response_schema": offer.response_schema,
    }


def _settings_of(
    chat: ChatAsRun, request: SentRequest, settings: Settings, models: ModelFactory
) -> dict[str, Any]:
    """The model that answered, as the log has it, else the one that is asked; and its temperature."""
    declared = None if chat.workflow is None else chat.workflow.agents.get(request.agent)
    choice = ModelChoice() if declared is None else declared.model
    temperature = choice.temperature
    found = {
        "model": choice.model or models.name,
        "provider": choice.provider,
        "temperature": settings.default_llm_temperature if temperature is None else temperature,
        "max_tokens": choice.max_tokens or settings.default_llm_max_tokens,
        "thinking": choice.thinking or settings.default_llm_thinking,
        **_options_of(request),
        **_answered_by(chat.facts, request),
    }
    return {name: value for name, value in found.items() if value is not None}


def _options_of(request: SentRequest) -> dict[str, Any]:
    """How the log says that the answer was asked for."""
    return {} if request.options is None else request.options.model_dump(exclude_none=True)


def _answered_by(facts: Iterable[Fact], request: SentRequest) -> dict[str, Any]:
    for fact in facts:
        event = fact.event
        if isinstance(event, ModelResponded) and (event.turn, event.call) == (
            request.turn,
            request.call,
        ):
            named = {"model": event.model, "provider": event.provider}
            return {name: value for name, value in named.items() if value}
    return {}


def as_text(shown: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the same for people."""
    yield f"event {shown['seq']}: turn {shown['turn']}, call {shown['call']}, {shown['agent']}"
    yield (
        "exactly what was sent: the digest in the log is that of this prompt and these messages"
        if shown["is_exact"]
        else "not exact: the digest in the log is that of another prompt or other messages"
    )
    yield "settings: " + ", ".join(f"{name} {value}" for name, value in shown["settings"].items())
    for tool in shown["tools"]:
        yield f"tool {tool['name']}: {tool['description']}"
        yield f"  {json.dumps(tool['parameters'], ensure_ascii=False)}"
    for server in shown["mcp_servers"]:
        yield f"the tools of the MCP server {server}"
    if shown["response_schema"] is not None:
        yield f"answer: {json.dumps(shown['response_schema'], ensure_ascii=False)}"
    yield from ("", "system:", *_indented("\n".join(shown["prompt"])))
    native = {one["message"]: one for one in shown["native"]}
    for number, message in enumerate(shown["messages"]):
        called = "".join(
            f" [calls {one['function']['name']} {one['function']['arguments']}]"
            for one in message.get("tool_calls") or ()
        )
        yield from ("", f"{message['role']} {message['name']}:{called}")
        yield from _indented(message["content"] or "")
        if number in native:
            yield f"  [{_kinds(native[number])}]"


def _kinds(native: Mapping[str, Any]) -> str:
    """What goes back to a provider besides the message; the JSON form has all of it."""
    parts = ", ".join(
        _kind(part["block"]) if part["kind"] == "block" else part["kind"]
        for part in native["parts"]
    )
    return f"goes back to {native['api']} as it came: {parts}"


def _kind(block: Mapping[str, Any]) -> str:
    """Anthropic's blocks have a type; others are known by their first member."""
    return str(block.get("type") or ("thought" if block.get("thought") else next(iter(block), "")))


def _indented(text: str) -> Iterator[str]:
    return (f"  {line}" for line in text.splitlines())

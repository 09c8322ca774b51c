"""Show what was sent to a model: prompt, messages, tools and settings, from the log of the chat."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.codec import Fact
from contracts.events.turn import ModelRequested
from contracts.ids import ChatKey
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.value_store import ValueLostError
from services.orchestrator.agents.execution.sent_request import sent_requests
from services.orchestrator.agents.inspection.shown_request import ChatAsRun, whole_request
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.domain.evolution import replay
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.code.bundle_store import BundleStore


class NothingToShowError(Exception):
    """There is no such chat, or it made no model request; the message says which."""


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
    requested = (
        fact.envelope.seq
        for fact in reversed(chat.facts)
        if isinstance(fact.event, ModelRequested) and turn in (None, fact.event.turn)
    )
    if (seq := next(requested, None)) is None:
        where = "" if turn is None else f" in turn {turn}"
        raise NothingToShowError(f"chat {key.chat} made no model request{where}")
    request = next(sent_requests(chat.facts, chat.workflow, seq))
    return whole_request(chat, request, settings, models)


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

"""A strict provider that replies by the scripts of a workflow's agents, in OpenAI's wire format."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import (
    ModelFactory,
    Provider,
    SharedByAgents,
    resilient_config,
)
from services.orchestrator.workflows.demo import DemoReply, DemoScript
from services.orchestrator.workflows.spec import ModelChoice
from tests.orchestrator.agents.provider_stub import ProviderStub, RawReply
from tests.orchestrator.agents.provider_turn import POLICY

Body = Mapping[str, Any]


class _Scripts:
    """The script of each agent, by the name of the model that its requests carry."""

    def __init__(self) -> None:
        self._scripts: dict[str, DemoScript] = {}
        self._replies: Counter[str] = Counter()

    def model_of(self, script: DemoScript) -> str:
        name = f"model-{len(self._scripts)}"
        self._scripts[name] = script
        return name

    def reply(self, body: Body) -> RawReply:
        model = body["model"]
        reply = self._scripts[model].reply(self._replies[model]) or DemoReply(say="No more.")
        self._replies[model] += 1
        calls = [
            {
                "index": number,
                "id": f"call-{model}-{self._replies[model]}-{number}",
                "type": "function",
                "function": {
                    "name": call.tool,
                    "arguments": json.dumps(_filled(call.arguments, body)),
                },
            }
            for number, call in enumerate(reply.calls)
        ]
        text = _filled(reply.say, body)
        delta = {"content": text or None, **({"tool_calls": calls} if calls else {})}
        chunks = [
            _chunk(model, {"role": "assistant", **delta}, None),
            _chunk(model, {}, "tool_calls" if calls else "stop"),
        ]
        lines = [f"data: {json.dumps(one)}\n\n".encode() for one in chunks]
        return RawReply([*lines, b"data: [DONE]\n\n"])


def _chunk(model: str, delta: Body, finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [choice],
    }


def _filled(value: Any, body: Body) -> Any:
    """The value with `{user}` and `{result}` replaced, as by the demo model."""
    match value:
        case str():
            return value.replace("{user}", _last(body, "user")).replace(
                "{result}", _last(body, "tool")
            )
        case dict():
            return {key: _filled(one, body) for key, one in value.items()}
        case list():
            return [_filled(one, body) for one in value]
        case _:
            return value


def _last(body: Body, role: str) -> str:
    said = [one["content"] for one in body["messages"] if one["role"] == role]
    return said[-1] if said and isinstance(said[-1], str) else ""


@asynccontextmanager
async def strict_models() -> AsyncIterator[ModelFactory]:
    """Models of a provider that refuses what strict providers refuse; nothing may be refused."""
    scripts = _Scripts()
    with ProviderStub(scripts.reply).running() as stub:
        async with shared_http_client() as client:
            shared = SharedByAgents()

            def config_for(script: DemoScript, _: ModelChoice) -> Any:
                model = scripts.model_of(script)
                provider = Provider(SecretStr("sk-secret"), model, base_url=stub.url)
                return resilient_config(provider, client, POLICY, shared)

            yield ModelFactory("strict", demo=False, config_for=config_for)
            assert stub.bodies

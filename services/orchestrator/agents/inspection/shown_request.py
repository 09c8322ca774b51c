"""A model request as it was sent: prompt, messages, tools and settings, from the log of the chat."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contracts.codec import Fact
from contracts.events.turn import ModelResponded
from contracts.ids import AgentName
from services.orchestrator.agents.execution.offered import Offer, offered_by
from services.orchestrator.agents.execution.sent_request import SentRequest
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.spec import ModelChoice, Workflow


@dataclass(frozen=True, slots=True)
class ChatAsRun:
    """The events of a chat, and the workflow's version that it runs; None where it is not available."""

    facts: list[Fact]
    version: WorkflowVersion | None

    @property
    def workflow(self) -> Workflow | None:
        return None if self.version is None else self.version.workflow


def whole_request(
    chat: ChatAsRun, request: SentRequest, settings: Settings, models: ModelFactory
) -> dict[str, Any]:
    """The request as JSON values, with what is known of it beside the log."""
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

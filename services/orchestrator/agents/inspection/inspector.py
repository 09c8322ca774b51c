"""Answers requests to show a model call, a workflow or a draft, which come over NATS from the transport."""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts import subjects
from contracts.codec import Fact
from contracts.events.turn import ModelCallFailed, ModelResponded, UsageRecorded
from contracts.ids import ChatKey, Seq
from contracts.inspection import (
    AgentShown,
    DraftAsked,
    DraftShown,
    InspectionFound,
    InspectionRequested,
    ModelCallAsked,
    ModelCallShown,
    WorkflowAsked,
    WorkflowShown,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.responder import answering
from services.chassis.jetstream.value_store import ValueLostError
from services.orchestrator.agents.execution.sent_request import SentRequest, sent_requests
from services.orchestrator.agents.inspection.shown_request import ChatAsRun, whole_request
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import card_of
from services.orchestrator.agents.registry.drafts import Edits, editable_files
from services.orchestrator.agents.registry.publisher import publish_draft
from services.orchestrator.agents.registry.version_registry import Draft, VersionRegistry
from services.orchestrator.domain.evolution import replay
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.spec import Agent

log = logging.getLogger(__name__)

LARGEST_ANSWER = 900_000
"""Bytes, compressed."""
NO_DRAFTS = "drafts of workflows are for development: ENVIRONMENT is not development"


class Inspector:
    """Shows what this orchestrator knows. `models` are those that its workflows use."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        registry: VersionRegistry,
        settings: Settings,
        models: ModelFactory,
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._settings = settings
        self._models = models

    @asynccontextmanager
    async def answering(self, queue: str) -> AsyncIterator[None]:
        """Answer until the end of the block; of several processes one answers each request."""
        nc = self._gateway.nc
        async with answering(nc, subjects.INSPECTIONS, self._on_request, queue=queue):
            yield

    async def _on_request(self, data: bytes) -> bytes:
        found = await self._answer(data)
        body = _packed(found)
        if len(body) <= min(LARGEST_ANSWER, self._gateway.nc.max_payload):
            return body
        return _packed(
            InspectionFound(problem="is larger than a message of NATS: see `mozaiks show prompt`")
        )

    async def _answer(self, data: bytes) -> InspectionFound:
        try:
            asked = InspectionRequested.model_validate_json(data).asked
        except ValidationError:
            return InspectionFound(problem="not a request to show something")
        try:
            match asked:
                case ModelCallAsked():
                    return await self._model_call(asked)
                case WorkflowAsked():
                    return self._workflow(asked)
                case DraftAsked():
                    return await self._draft(asked)
        except (NatsUnavailableError, ValueLostError, TimeoutError) as error:
            return InspectionFound(problem=str(error) or "took too long")
        except NatsError as error:
            return InspectionFound(problem=repr(error))
        except Exception:  # what cannot be shown is what an operator asks about
            log.exception("a request to show something failed")
            return InspectionFound(problem="cannot be shown: see the orchestrator's log")

    async def _model_call(self, asked: ModelCallAsked) -> InspectionFound:
        key = ChatKey(asked.app_id, asked.chat_id)
        facts = [
            fact
            async for commit in self._gateway.events.read(key)
            for stored in commit.events
            if (fact := (await self._gateway.values.whole(stored)).fact) is not None
        ]
        # In threads: a long chat takes a second, in which nothing else of this process would run.
        state = await asyncio.to_thread(replay, facts)
        chat = ChatAsRun(facts, await self._registry.version_of(state))
        request = await asyncio.to_thread(_request_at, asked.seq, chat)
        if request is None:
            return InspectionFound(problem=f"event {asked.seq} is no model request")
        shown = whole_request(chat, request, self._settings, self._models)
        answer = _answer_to(facts, request)
        return InspectionFound(model_call=ModelCallShown.model_validate({**shown, **answer}))

    def _workflow(self, asked: WorkflowAsked) -> InspectionFound:
        version = self._registry.newest(asked.workflow_name)
        if version is None:
            return InspectionFound(problem=f"there is no workflow {asked.workflow_name}")
        workflow, drafts = version.workflow, self._settings.drafts
        return InspectionFound(
            workflow=WorkflowShown(
                name=workflow.name,
                version=workflow.version.short_form if workflow.version else "",
                model=self._models.name,
                agents=[_agent(one) for one in workflow.agents.values()],
                variables=list(workflow.variables),
                drafts=drafts,
                files=editable_files(version) if drafts else {},
            )
        )

    async def _draft(self, asked: DraftAsked) -> InspectionFound:
        base = self._registry.newest(asked.workflow_name)
        if not self._settings.drafts:
            return InspectionFound(problem=NO_DRAFTS)
        if base is None:
            return InspectionFound(problem=f"there is no workflow {asked.workflow_name}")
        found = await self._registry.draft(base, Edits(asked.files, asked.variables, asked.model))
        if not isinstance(found, Draft):
            return InspectionFound(draft=DraftShown(problems=found))
        card = card_of(found.version.workflow, self._models).model_copy(update={"draft": True})
        await publish_draft(self._gateway.key_values, card, found.gone)
        return InspectionFound(draft=DraftShown(workflow_name=card.name))


def _packed(found: InspectionFound) -> bytes:
    return zlib.compress(found.model_dump_json().encode(), level=1)


def _agent(agent: Agent) -> AgentShown:
    return AgentShown(
        name=agent.name,
        prompt=agent.prompt,
        model=agent.model.model,
        provider=agent.model.provider,
        temperature=agent.model.temperature,
        tools=[tool.name for tool in agent.tools],
        mcp_servers=[server.name for server in agent.mcp_servers],
        variables=list(agent.variables),
        output=None if agent.output is None else agent.output.name,
    )


def _request_at(seq: Seq, chat: ChatAsRun) -> SentRequest | None:
    return next(sent_requests(chat.facts, chat.workflow, seq), None)


def _answer_to(facts: list[Fact], request: SentRequest) -> dict[str, object]:
    """What came of a model request: the first answer or failure after it."""
    found: dict[str, object] = {}
    of_call = (request.turn, request.call)
    for event in (fact.event for fact in facts if fact.envelope.seq > request.seq):
        match event:
            case ModelResponded(turn=turn, call=call) if (turn, call) == of_call:
                found.setdefault("response", event.model_dump(mode="json"))
            case ModelCallFailed(turn=turn, call=call) if (turn, call) == of_call:
                if "response" not in found:
                    found.setdefault("failure", event.model_dump(mode="json"))
            case UsageRecorded(turn=turn, call=call) if (turn, call) == of_call:
                found.setdefault("usage", event.model_dump(mode="json"))
            case _:
                pass
    return found

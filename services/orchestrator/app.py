"""Settings and wiring of the orchestrator: the only module here that knows concrete classes."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry, Gauge
from pydantic import Field, SecretStr

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import new_runner_id
from services.chassis.bus import Bus
from services.chassis.listening import Listener, Queue
from services.chassis.process import Asgi, Probes, build_broker, connected, nats_check
from services.chassis.settings import Settings as ChassisSettings
from services.orchestrator.agents.models import Provider, choose_models, shared_client
from services.orchestrator.agents.offer import Offer, build_offer, build_performer
from services.orchestrator.agents.prints import prints_in_the_log
from services.orchestrator.handlers import Handlers
from services.orchestrator.runner import Runner

log = logging.getLogger(__name__)


class Settings(ChassisSettings):
    """What the orchestrator is told by its environment."""

    orchestrator_port: int = 8002
    workflows_path: Path = Path("workflows")
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    default_llm_model: str = "gpt-4o-mini"
    default_llm_temperature: float | None = Field(default=None, ge=0, le=2)
    model_retries: int = Field(default=4, ge=0, le=20)
    """Of a model call that the provider refuses for now, with growing pauses or as long as it says."""
    orchestrator_slots: int = Field(default=64, ge=1)
    """Chats that run at the same time in this process."""
    model_calls_per_turn: int = Field(default=25, ge=1)
    demo_pause_seconds: float = Field(default=0.03, ge=0)
    """The demo model's time between words."""


async def publish_offer(bus: Bus, offer: Offer) -> None:
    """Show the workflows to the public; one whose folder is gone is shown no more."""
    bucket = await bus.bucket(subjects.WORKFLOWS)
    shown = {
        subjects.workflow_key(WorkflowCard.model_validate_json(value).name)
        for value in await bus.values_under(subjects.WORKFLOWS, "")
    }
    for card in offer.cards:
        await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
        if card.problems:
            log.warning("workflow not loaded", extra={"workflow": card.name, "why": card.problems})
    for key in shown - {subjects.workflow_key(card.name) for card in offer.cards}:
        await bucket.delete(key)


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    probes = Probes(CollectorRegistry())
    broker = build_broker(settings, "orchestrator")
    listening: list[Listener] = []

    async def hand_over() -> None:
        """Before the connection goes: what is open goes back to the queue, its lease released."""
        probes.draining()
        for listener in listening:
            await listener.stop(settings.drain_seconds)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with (
            prints_in_the_log(),
            connected(broker, settings) as bus,
            shared_client() as client,
        ):
            models = choose_models(
                _provider(settings), client, settings.demo_pause_seconds, os.environ
            )
            root = settings.workflows_path.resolve()
            offer = await asyncio.to_thread(build_offer, root, models, os.environ)
            await publish_offer(bus, offer)
            listener = await _listener(bus, offer, settings)
            _count_runs(probes.registry, listener)
            listener.start()
            listening.append(listener)
            probes.details = lambda: {
                "workflows": {c.name: c.problems for c in offer.cards},
                "warnings": offer.warnings,
            }
            probes.ready_when(
                nats=nats_check(bus),
                commands=lambda: None if listener.listening else "not taking commands",
            )
            yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[hand_over], logger=None)
    return app, probes


async def _listener(bus: Bus, offer: Offer, settings: Settings) -> Listener:
    runner = Runner(
        bus=bus,
        leases=await bus.bucket(subjects.LEASES),
        workflows=offer.workflows,
        perform=build_performer(offer, settings.model_calls_per_turn),
        clock=lambda: datetime.now(UTC),
        process=new_runner_id(),
    )
    handlers = Handlers(runner)
    queue = Queue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable="orchestrator",
        slots=settings.orchestrator_slots,
    )
    return Listener(bus, queue, handlers.on_command, handlers.on_given_up)


def _provider(settings: Settings) -> Provider | None:
    """The real model, where a key says so; none for the demo model."""
    if settings.openai_api_key is None or not settings.openai_api_key.get_secret_value():
        return None
    return Provider(
        api_key=settings.openai_api_key,
        model=settings.default_llm_model,
        base_url=settings.openai_base_url,
        temperature=settings.default_llm_temperature,
        retries=settings.model_retries,
    )


def _count_runs(registry: CollectorRegistry, listener: Listener) -> None:
    gauge = Gauge("mozaiks_orchestrator_runs", "Commands in hand", registry=registry)
    gauge.set_function(lambda: listener.busy)

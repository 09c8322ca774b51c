"""Settings and wiring of the orchestrator: the only module here that knows concrete classes."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import SystemRandom
from secrets import randbelow
from typing import Annotated

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry, Counter, Gauge
from pydantic import Field

from contracts import subjects
from contracts.ids import new_process_id
from contracts.prices import Price, priced
from services.chassis.away import until_answered
from services.chassis.bus import Bus
from services.chassis.dead_letters.queue import dead_letter_counter
from services.chassis.ending import end
from services.chassis.listening import Queue, QueueConsumer
from services.chassis.process import Asgi, Probes, build_broker, connected, nats_check
from services.chassis.publish import HEADER_BYTES
from services.chassis.settings import Settings as ChassisSettings
from services.orchestrator.agents.answers import Answers, recording
from services.orchestrator.agents.asked import Manner
from services.orchestrator.agents.catalogue import keep_fresh, publish
from services.orchestrator.agents.models import (
    Provider,
    choose_models,
    process_provider,
    shared_client,
)
from services.orchestrator.agents.patience import Patience
from services.orchestrator.agents.prints import prints_in_the_log
from services.orchestrator.agents.shelf import Shelf
from services.orchestrator.agents.windows import WINDOWS
from services.orchestrator.handlers import Handlers
from services.orchestrator.runner import Runner
from services.orchestrator.workflows.archive import Archive
from services.orchestrator.workflows.providers import ProviderName
from services.orchestrator.workflows.watching import Watch

NEEDS = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.bucket_stream(subjects.TRIES),
    subjects.bucket_stream(subjects.WORKFLOWS),
    subjects.bucket_stream(subjects.ANSWERS),
    subjects.object_stream(subjects.MANIFESTS),
)
STORES = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DEAD_LETTERS,
    subjects.object_stream(subjects.MANIFESTS),
)


class Settings(ChassisSettings):
    """What the orchestrator is told by its environment."""

    orchestrator_port: int = 8002
    workflows_path: Path = Path("workflows")
    default_llm_provider: ProviderName = "openai"
    """Whose key is read from its usual variable: OPENAI_API_KEY, MISTRAL_API_KEY, ..."""
    default_llm_base_url: str | None = None
    """Where the provider answers, instead of its usual address; it is sent the provider's key."""
    openai_base_url: str | None = None
    """The same for `openai` alone: any server that speaks its wire."""
    default_llm_model: str = "gpt-4o-mini"
    default_llm_temperature: float | None = Field(default=None, ge=0, le=2)
    openai_model_fallback: str | None = None
    """The model that is asked where the server does not know the first, or refuses it."""
    model_retries: int = Field(default=4, ge=0, le=20)
    """Of a model call that fails for now, with growing pauses or as long as the provider says."""
    model_wait_seconds: float = Field(default=600.0, ge=0)
    """How long one call waits in all for a provider that says how long; beyond it the chat fails."""
    model_pricing_json: dict[str, Price] = Field(default_factory=dict)
    """Per thousand tokens: {"gpt-4o-mini": {"prompt": 0.00015, "completion": 0.0006}}."""
    model_context_json: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """How many tokens a model takes: {"gpt-4o-mini": 128000}."""
    llm_cache: bool | None = None
    """Whether recorded answers are used; unset, where one of the next two names a seed for all chats."""
    llm_default_cache_seed: int | None = None
    """The seed under which all chats record their answers, instead of each its own."""
    randomize_default_cache_seed: bool = False
    """Without such a seed: one that this process draws when it starts."""
    orchestrator_slots: int = Field(default=64, ge=1)
    """Chats that run at the same time in this process."""
    model_calls_per_turn: int = Field(default=25, ge=1)
    demo_pause_seconds: float = Field(default=0.03, ge=0)
    """The demo model's time between words."""
    environment: str = "development"
    clear_tool_cache_on_start: bool | None = None
    """Whether workflows and their tools are loaded again when they change; by default yes, but in
    production."""

    @property
    def follows_changes(self) -> bool:
        if self.clear_tool_cache_on_start is None:
            return self.environment.casefold() != "production"
        return self.clear_tool_cache_on_start


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    probes = Probes(CollectorRegistry())
    dead_letters = dead_letter_counter(probes.registry)
    broker = build_broker(settings, "orchestrator")
    listening: list[QueueConsumer] = []

    async def hand_over() -> None:
        """Before the connection goes: what is open goes back to the queue."""
        probes.draining()
        for listener in listening:
            await listener.stop(settings.drain_seconds)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with (
            prints_in_the_log(),
            connected(broker, settings, probes, NEEDS, STORES) as bus,
            shared_client() as client,
        ):
            models = choose_models(
                _provider(settings, os.environ),
                client,
                settings.demo_pause_seconds,
                os.environ,
                _manner(settings, await _answers(bus, settings)),
            )
            root = settings.workflows_path.resolve()
            watch = await asyncio.to_thread(Watch, root)  # before the load: nothing is missed
            archive = Archive(bus)
            shelf = Shelf(root, models, os.environ, archive, settings.model_calls_per_turn)
            offer = await shelf.load()
            await until_answered(partial(publish, bus, offer), "the catalogue")
            bus.refills |= {
                subjects.bucket_stream(subjects.WORKFLOWS): lambda: publish(bus, shelf.offer),
                subjects.object_stream(subjects.MANIFESTS): shelf.keep_all,
            }
            listener = _listener(bus, shelf, settings, dead_letters)
            _count_runs(probes.registry, listener)
            listener.start()
            listening.append(listener)
            probes.details = lambda: {
                "workflows": {c.name: c.problems for c in shelf.offer.cards},
                "warnings": shelf.offer.warnings,
            }
            probes.ready_when(
                nats=nats_check(bus),
                commands=lambda: None if listener.listening else "not taking commands",
            )
            async with _following(bus, shelf, watch) if settings.follows_changes else nullcontext():
                yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[hand_over], logger=None)
    return app, probes


@asynccontextmanager
async def _following(bus: Bus, shelf: Shelf, watch: Watch) -> AsyncIterator[None]:
    following = asyncio.create_task(keep_fresh(bus, shelf, watch), name="workflows on disk")
    try:
        yield
    finally:
        await end(following)


def _listener(bus: Bus, shelf: Shelf, settings: Settings, dead_letters: Counter) -> QueueConsumer:
    runner = Runner(
        bus=bus,
        repertoire=shelf,
        clock=lambda: datetime.now(UTC),
        process=new_process_id(),
    )
    handlers = Handlers(runner)
    queue = Queue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable="orchestrator",
        slots=settings.orchestrator_slots,
    )
    return QueueConsumer(bus, queue, handlers.on_command, handlers.on_given_up, dead_letters)


def _provider(settings: Settings, environment: Mapping[str, str]) -> Provider | None:
    """The real model, where a key says so; none for the demo model."""
    name = settings.default_llm_provider
    openais = settings.openai_base_url if name == "openai" else None
    return process_provider(
        name,
        settings.default_llm_model,
        environment,
        base_url=settings.default_llm_base_url or openais,
        temperature=settings.default_llm_temperature,
        fallback=settings.openai_model_fallback,
    )


async def _answers(bus: Bus, settings: Settings) -> Answers | None:
    how = recording(
        wanted=settings.llm_cache,
        seed=settings.llm_default_cache_seed,
        drawn=randbelow(2**32) if settings.randomize_default_cache_seed else None,
    )
    if how is None:
        return None
    bucket = await until_answered(partial(bus.bucket, subjects.ANSWERS), "bucket answers")
    return Answers(bucket, how, bus.nc.max_payload - HEADER_BYTES)


def _manner(settings: Settings, answers: Answers | None) -> Manner:
    return Manner(
        clock=lambda: datetime.now(UTC),
        lot=SystemRandom().random,
        patience=Patience(settings.model_retries, settings.model_wait_seconds),
        prices=priced(settings.model_pricing_json),
        windows={**WINDOWS, **settings.model_context_json},
        answers=answers,
    )


def _count_runs(registry: CollectorRegistry, listener: QueueConsumer) -> None:
    gauge = Gauge("mozaiks_orchestrator_runs", "Commands in hand", registry=registry)
    gauge.set_function(lambda: listener.busy)

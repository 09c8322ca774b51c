"""Wiring of the orchestrator: the only module that combines concrete classes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from secrets import randbelow

from faststream.asgi import AsgiFastStream
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.ids import new_process_id
from contracts.prices import with_own_prices
from services.chassis.budgets.opening import opened_budgets
from services.chassis.consumers.queue_consumer import QueueConsumer
from services.chassis.consumers.takeover import Takeover
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import HEADER_BYTES
from services.chassis.nats.unavailable import retry_until_available
from services.chassis.process.asgi_front import Asgi
from services.chassis.process.broker import build_broker, connected, nats_check
from services.chassis.process.probes import Probes
from services.chassis.tasks import cancel_and_wait
from services.chassis.tracing.setup import exported_traces
from services.orchestrator.agents.inspection.inspector import Inspector
from services.orchestrator.agents.models.configured import configured_models
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.metrics import ModelMetrics
from services.orchestrator.agents.models.response_cache import ResponseCache, cache_policy
from services.orchestrator.agents.registry.publisher import follow_changes, publish
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.agents.sandbox.stdout_capture import tool_output_to_log
from services.orchestrator.nats_permissions import SERVICE
from services.orchestrator.runtime.chat_budget import Budgets
from services.orchestrator.runtime.chat_snapshots import ChatSnapshots
from services.orchestrator.runtime.command_handler import CommandHandler
from services.orchestrator.runtime.explainer import Explainer
from services.orchestrator.runtime.question_notices import QuestionNotices
from services.orchestrator.runtime.runner import Runner
from services.orchestrator.settings import Settings
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.watcher import FolderWatcher

NEEDS = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.bucket_stream(subjects.ATTEMPTS),
    subjects.bucket_stream(subjects.WORKFLOWS),
    subjects.bucket_stream(subjects.ANSWERS),
    subjects.object_stream(subjects.MANIFESTS),
    subjects.object_stream(subjects.VALUES),
    subjects.BUDGETS,
    subjects.bucket_stream(subjects.BUDGET_LIMITS),
    subjects.bucket_stream(subjects.CHAT_KEYS),
)
STORES = (
    subjects.COMMANDS,
    subjects.EVENTS,
    subjects.DEAD_LETTERS,
    subjects.object_stream(subjects.MANIFESTS),
    subjects.object_stream(subjects.VALUES),
)


def build_app(settings: Settings) -> tuple[Asgi, Probes]:
    """The ASGI app of the orchestrator, and its probes."""
    probes = Probes(CollectorRegistry())
    model_metrics = ModelMetrics(probes.registry)
    broker = build_broker(settings, SERVICE)
    notices = QuestionNotices(settings.answer_links())
    commands: list[tuple[QueueConsumer, Takeover]] = []

    async def hand_over() -> None:
        """Return commands in progress to the queue, before the connection is closed."""
        probes.draining()
        for consumer, takeover in commands:
            await consumer.stop(settings.drain_seconds)
            await takeover.stop()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with (
            tool_output_to_log(),
            exported_traces(settings, SERVICE, probes.registry),
            connected(broker, settings, probes, NEEDS, STORES) as gateway,
            shared_http_client() as client,
            opened_budgets(gateway, settings, _now) as opened,
        ):
            process = new_process_id()
            queue = command_queue(settings)
            takeover = Takeover(gateway, queue, process)
            takeover.start()
            cache = await _response_cache(gateway, settings)
            models = configured_models(settings, os.environ, client, _now, cache, model_metrics)
            root = settings.workflows_path.resolve()
            # Created before the first load, so that no change after the load is missed.
            watcher = await asyncio.to_thread(FolderWatcher, root)
            bundles = BundleStore(gateway)
            registry = VersionRegistry(
                root, models, os.environ, bundles, settings.max_model_calls_per_turn
            )
            catalogue = await registry.load()
            await retry_until_available(
                partial(publish, gateway.key_values, catalogue), "the catalogue"
            )
            gateway.refills |= {
                subjects.bucket_stream(subjects.WORKFLOWS): lambda: publish(
                    gateway.key_values, registry.catalogue
                ),
                subjects.object_stream(subjects.MANIFESTS): registry.store_all,
            }
            prices = with_own_prices(settings.model_pricing_json)
            budgets = Budgets(opened.limits, opened.ledgers, prices, _now, opened.storage)
            snapshots = ChatSnapshots(gateway, probes.registry)
            runner = Runner(gateway, registry, _now, process, notices, budgets, snapshots)
            consumer = _command_consumer(gateway, runner, queue)
            await takeover.join()
            consumer.start()
            commands.append((consumer, takeover))
            probes.details = lambda: {
                "workflows": {c.name: c.problems for c in registry.catalogue.cards},
                "warnings": registry.catalogue.warnings,
            }
            probes.ready_when(
                nats=nats_check(gateway),
                commands=lambda: None if consumer.is_running else "not taking commands",
            )
            async with (
                Explainer(gateway, SERVICE).answering(),
                Inspector(gateway, registry, settings, models).answering(SERVICE),
                _reloading(gateway, registry, watcher)
                if settings.reload_workflows
                else nullcontext(),
            ):
                yield

    app = AsgiFastStream(broker, lifespan=lifespan, on_shutdown=[hand_over], logger=None)
    return app, probes


@asynccontextmanager
async def _reloading(
    gateway: JetStreamGateway, registry: VersionRegistry, watcher: FolderWatcher
) -> AsyncIterator[None]:
    task = asyncio.create_task(
        follow_changes(gateway.key_values, registry, watcher), name="reload workflows"
    )
    try:
        yield
    finally:
        await cancel_and_wait(task)


def command_queue(settings: Settings) -> WorkQueue:
    return WorkQueue(
        stream=subjects.COMMANDS,
        subject=subjects.ALL_COMMANDS,
        durable=SERVICE,
        concurrency=settings.max_concurrent_chats,
        fairness=settings.fairness,
    )


def _command_consumer(gateway: JetStreamGateway, runner: Runner, queue: WorkQueue) -> QueueConsumer:
    handler = CommandHandler(runner)
    return QueueConsumer(gateway, queue, handler.on_command, handler.on_given_up)


async def _response_cache(gateway: JetStreamGateway, settings: Settings) -> ResponseCache | None:
    policy = cache_policy(
        enabled=settings.llm_cache_enabled,
        seed=settings.llm_default_cache_seed,
        random_seed=randbelow(2**32) if settings.randomize_default_cache_seed else None,
    )
    if policy is None:
        return None
    bucket = await retry_until_available(
        partial(gateway.key_values.bucket, subjects.ANSWERS), "bucket answers"
    )
    return ResponseCache(bucket, policy, gateway.nc.max_payload - HEADER_BYTES)


def _now() -> datetime:
    return datetime.now(UTC)

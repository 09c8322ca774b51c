"""Workflows: from 200 folders to agents that are ready, to the one of a chat, and from a change to the public."""

import asyncio
import gc
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import yaml  # type: ignore[import-untyped]
from nats.js.kv import KeyValue

from benchmarks import stage
from benchmarks.figures import Aim, Figure
from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import Seq, WorkflowName
from infra.servers import NatsServer
from infra.stack import ROOT
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.agents.models import demo
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.publisher import follow_changes, publish
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.domain.state import ChatState
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.manifest.reader import SUFFIXES
from services.orchestrator.workflows.watcher import FolderWatcher

COUNT = 200
REPETITIONS = 5
LOOKS = 1000
CHANGE_SECONDS = 10.0
CALL_LIMIT = 10
CHANGED = WorkflowName("Generator000")
MODELS = ModelFactory(
    demo.MODEL, demo=True, config_for=lambda script, _: demo.DemoConfig(script, 0)
)


class NotAllError(Exception):
    """Something was not loaded: the figure would mean nothing."""


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.gateway(server) as gateway:
        with _folders() as root:
            return [
                await _start(gateway, root),
                *await _chosen(gateway, root),
                await _change(gateway, root),
            ]


@contextmanager
def _folders() -> Iterator[Path]:
    """The shipped workflows again and again, each copy under a name of its own."""
    shipped = sorted(path.parent for path in (ROOT / "workflows").glob("*/agents.*"))
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for number in range(COUNT):
            original = shipped[number % len(shipped)]
            _copy(original, Path(place) / f"{original.name}{number:03}")
        shutil.copytree(ROOT / "workflows" / "_shared", Path(place) / "_shared")
        first = next(Path(place).glob("Generator*"))
        first.rename(first.with_name(CHANGED))
        _named(Path(place) / CHANGED, first.name)
        yield Path(place)


def _copy(original: Path, folder: Path) -> None:
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
    _named(folder, original.name)


def _named(folder: Path, before: str) -> None:
    for head in (*folder.glob("workflow.*"), *folder.glob("orchestrator.*")):
        head.write_text(head.read_text().replace(before, folder.name))


def _registry(gateway: JetStreamGateway, root: Path) -> VersionRegistry:
    return VersionRegistry(root, MODELS, {}, BundleStore(gateway), CALL_LIMIT)


async def _start(gateway: JetStreamGateway, root: Path) -> Figure:
    floors: list[float] = []
    ours: list[float] = []
    for _ in range(REPETITIONS):
        await gateway.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))
        floors.append(_parsed(root))
        ours.append(await _shown(gateway, root))
    return Figure(f"{COUNT} workflows at start", "ms", ours, floors, Aim(limit=2_000))


def _parsed(root: Path) -> float:
    """The same manifests, read and parsed and looked at no further."""
    gc.collect()
    began = perf_counter()
    for path in root.glob("*/*"):
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix in SUFFIXES:
            yaml.load(path.read_bytes(), yaml.CSafeLoader)
    return 1000 * (perf_counter() - began)


async def _shown(gateway: JetStreamGateway, root: Path) -> float:
    """Until each, and what is built in, has its agents and its card in the catalogue."""
    gc.collect()
    began = perf_counter()
    catalogue = await _registry(gateway, root).load()
    await publish(gateway.key_values, catalogue)
    taken = 1000 * (perf_counter() - began)
    if len(catalogue.versions) < COUNT:
        raise NotAllError(f"{len(catalogue.versions)} of {COUNT} workflows")
    return taken


async def _chosen(gateway: JetStreamGateway, root: Path) -> list[Figure]:
    """Whose configuration is in memory: that of a new chat, and of one that began before an edit."""
    registry = _registry(gateway, root)
    began = (await registry.load()).workflows[CHANGED].version
    if began is None:
        raise NotAllError(CHANGED)
    _edit(root, "another prompt")
    await registry.load({CHANGED})
    earlier = ChatState(
        seq=Seq(1),
        workflow=CHANGED,
        workflow_version=began.manifests,
        tools_version=began.tools,
    )
    aim = Aim(limit=1_000)
    return [
        Figure("a cached workflow, newest", "µs", await _lookups(registry, ChatState()), aim=aim),
        Figure("a cached workflow, earlier", "µs", await _lookups(registry, earlier), aim=aim),
    ]


async def _lookups(registry: VersionRegistry, state: ChatState) -> list[float]:
    taken: list[float] = []
    for _ in range(REPETITIONS + 1):
        began = perf_counter()
        for _ in range(LOOKS):
            if await registry.find(state, CHANGED) is None:
                raise NotAllError(CHANGED)
        taken.append(1_000_000 * (perf_counter() - began) / LOOKS)
    return taken[1:]  # the first one keeps the version in the archive


async def _change(gateway: JetStreamGateway, root: Path) -> Figure:
    """From a file's new content to the card that says so."""
    watcher, registry = FolderWatcher(root), _registry(gateway, root)
    await publish(gateway.key_values, await registry.load())
    following = asyncio.create_task(follow_changes(gateway.key_values, registry, watcher))
    bucket = await gateway.key_values.bucket(subjects.WORKFLOWS)
    try:
        taken = [await _change_once(bucket, root, f"prompt {n}") for n in range(REPETITIONS + 1)]
    finally:
        await cancel_and_wait(following)
    return Figure("a change on disk, to its card", "ms", taken[1:], aim=Aim(limit=1_000))


async def _change_once(bucket: KeyValue, root: Path, prompt: str) -> float:
    before = await _version(bucket)
    began = perf_counter()
    _edit(root, prompt)
    async with asyncio.timeout(CHANGE_SECONDS):
        while await _version(bucket) == before:  # noqa: ASYNC110  a process says when, not we
            await asyncio.sleep(0.002)
    return 1000 * (perf_counter() - began)


async def _version(bucket: KeyValue) -> str:
    entry = await bucket.get(subjects.workflow_key(CHANGED))
    return WorkflowCard.model_validate_json(entry.value or b"").version


def _edit(root: Path, prompt: str) -> None:
    file = root / CHANGED / "agents.json"
    told = json.loads(file.read_text())
    told["agents"][0]["system_message"] = prompt
    file.write_text(json.dumps(told))

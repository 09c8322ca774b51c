"""The workflow versions that this process can run: the newest ones, and those that chats began with."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from weakref import WeakValueDictionary

from contracts.ids import WorkflowName
from services.orchestrator.agents.execution.effect_executor import AgentExecutor
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.registry.catalogue import (
    EMPTY_CATALOGUE,
    Catalogue,
    build_catalogue,
)
from services.orchestrator.agents.registry.drafts import (
    Drafts,
    Edits,
    draft_name,
    edited,
    problems_of_draft,
    problems_of_edits,
    with_edits,
)
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion, build_version
from services.orchestrator.agents.sandbox.thread_runner import AbandonedRuns, ThreadRunner
from services.orchestrator.domain.state import ChatState
from services.orchestrator.runtime.runner import RunnableWorkflow
from services.orchestrator.workflows.code.bundle import FileBundle
from services.orchestrator.workflows.code.bundle_store import BundleStore
from services.orchestrator.workflows.code.loader import ToolCode, tool_code
from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from services.orchestrator.workflows.spec import Version, Workflow

log = logging.getLogger(__name__)

T = TypeVar("T")

LOAD_SECONDS = 60.0
"""How long all workflows may take to load: a tool's file runs when it is imported, and may hang."""
MAX_CACHED_VERSIONS = 64
"""Versions kept in memory besides the newest; others are loaded from the bundle store again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that can be started, and the names of older ones that are not kept any longer."""

    version: WorkflowVersion
    gone: tuple[WorkflowName, ...] = ()


class VersionRegistry:
    """The runner's WorkflowSource."""

    def __init__(
        self,
        root: Path,
        models: ModelFactory,
        environment: Mapping[str, str],
        store: BundleStore,
        call_limit: int,
    ) -> None:
        """`call_limit` is the number of model calls that one turn may make."""
        self.catalogue = EMPTY_CATALOGUE
        self._root = root
        self._models = models
        self._environment = environment
        self._store = store
        self._call_limit = call_limit
        self._cached: OrderedDict[Version, WorkflowVersion | BrokenWorkflow] = OrderedDict()
        self._thread_runner = ThreadRunner()
        self._abandoned = AbandonedRuns()
        self._drafts = Drafts()
        self._loading = asyncio.Lock()
        self._restoring: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, changed: Collection[str] | None = None) -> Catalogue:
        """Load the changed folders again, or all of them; returns the new catalogue.

        Raises TimeoutError, ToolHangsError, and what reading the folders raises; then the catalogue
        stays as it was.
        """
        async with self._loading, asyncio.timeout(LOAD_SECONDS):
            previous = self.catalogue
            build = partial(build_catalogue, self._root, self._models, self._environment)
            self.catalogue = await self._run_in_thread(partial(build, previous, changed))
            for name, version in previous.versions.items():
                newest = self.newest(name)
                if newest is None or newest.digests != version.digests:
                    self._cached[version.digests] = version
            self._evict()
            return self.catalogue

    async def find(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> RunnableWorkflow | None:
        """The version is stored before it is returned, so that the chat finds it again later."""
        version = await self.version_of(state, asked_for)
        if version is None:
            return None
        await self._store_version(version)
        executor = AgentExecutor(version, self._call_limit)
        return RunnableWorkflow(version.workflow, executor, executor.open_turn)

    async def version_of(
        self, state: ChatState, asked_for: WorkflowName | None = None
    ) -> WorkflowVersion | None:
        """The version that a chat runs: the pinned one with the newest code, else the newest."""
        newest = self.newest(state.workflow or asked_for)
        pinned = state.workflow_version
        if pinned is None or (newest and newest.digests.manifests == pinned):
            return newest
        return await self._pinned(Version(pinned, state.tools_version or ""), newest)

    async def draft(self, base: WorkflowVersion, edits: Edits) -> Draft | list[str]:
        """An edited copy of a workflow, kept in memory and found by its name; or its problems.

        Raises TimeoutError, ToolHangsError.
        """
        if problems := problems_of_edits(base, edits):
            return problems
        name = draft_name(base.workflow.name, edits)
        work = partial(self._build_draft, base, name, edits)
        async with asyncio.timeout(LOAD_SECONDS):
            found = await self._run_in_thread(work)
        if isinstance(found, BrokenWorkflow):
            return list(found.problems)
        if problems := list(problems_of_draft(base.workflow, found.workflow)):
            return problems
        return Draft(found, tuple(self._drafts.add(name, found)))

    def _build_draft(
        self, base: WorkflowVersion, name: WorkflowName, edits: Edits
    ) -> WorkflowVersion | BrokenWorkflow:
        manifests, code = edited(base, edits), base.loaded.code
        version = Version(manifests.digest, code.bundle.digest)
        folder = self._root / manifests.folder
        return restore_version(
            version,
            manifests,
            code,
            folder,
            self._models,
            self._environment,
            partial(with_edits, name=name, edits=edits),
        )

    async def store_all(self) -> None:
        """Store every version in memory again, after the store was created anew.

        Raises NatsUnavailableError.
        """
        self._store.forget()
        cached = [one for one in self._cached.values() if isinstance(one, WorkflowVersion)]
        for version in [*self.catalogue.versions.values(), *cached]:
            await self._store_version(version)

    def newest(self, name: WorkflowName | None) -> WorkflowVersion | None:
        """The version that new chats of a workflow, or of a draft, start with."""
        if name is None:
            return None
        return self.catalogue.versions.get(name) or self._drafts.find(name)

    async def _store_version(self, version: WorkflowVersion) -> None:
        await self._store.put(version.digests.manifests, version.loaded.manifests)
        await self._store.put(version.digests.tools, version.loaded.code.bundle)

    async def _pinned(
        self, pinned: Version, newest: WorkflowVersion | None
    ) -> WorkflowVersion | None:
        """The chat's manifests with the newest tool code if they work together, else with their own.

        Only one chat at a time restores a version; others wait and find it in the cache.
        """
        async with self._restoring.setdefault(pinned.manifests, asyncio.Lock()):
            if newest is not None:
                combined = Version(pinned.manifests, newest.digests.tools)
                version = await self._cached_or_restored(combined, newest.loaded.code)
                if version is not None:
                    return version
            return await self._cached_or_restored(pinned, None)

    async def _cached_or_restored(
        self, version: Version, code: ToolCode | None
    ) -> WorkflowVersion | None:
        found = self._cached.get(version) or await self._restore(version, code)
        if found is None:
            return None
        self._cached[version] = found
        self._cached.move_to_end(version)
        self._evict()
        return found if isinstance(found, WorkflowVersion) else None

    async def _restore(
        self, version: Version, code: ToolCode | None
    ) -> WorkflowVersion | BrokenWorkflow | None:
        """None if the store does not have the version."""
        manifests = await self._manifests(version.manifests)
        code = code or await self._tool_code(version.tools, manifests)
        if manifests is None or code is None:
            return None
        folder = self._root / manifests.folder
        work = partial(
            restore_version, version, manifests, code, folder, self._models, self._environment
        )
        async with asyncio.timeout(LOAD_SECONDS):
            return await self._run_in_thread(work)

    async def _manifests(self, digest: str) -> FileBundle | None:
        for version in self._cached.values():
            if isinstance(version, WorkflowVersion) and version.digests.manifests == digest:
                return version.loaded.manifests
        return await self._store.get(digest)

    async def _tool_code(self, digest: str, manifests: FileBundle | None) -> ToolCode | None:
        """With the path of its original folder, where it finds files that are not in the bundle."""
        if manifests is None or (bundle := await self._store.get(digest)) is None:
            return None
        return tool_code(self._root / manifests.folder, bundle)

    async def _run_in_thread(self, work: Callable[[], T]) -> T:
        """Loading imports the tools' code, which may hang: then the thread is abandoned."""
        self._abandoned.check_capacity()
        result: T = await self._thread_runner.run_blocking(work, self._abandoned)
        return result

    def _evict(self) -> None:
        while len(self._cached) > MAX_CACHED_VERSIONS:
            self._cached.popitem(last=False)


def restore_version(
    version: Version,
    manifests: FileBundle,
    code: ToolCode,
    folder: Path,
    models: ModelFactory,
    environment: Mapping[str, str],
    change: Callable[[Workflow], Workflow] = lambda workflow: workflow,
) -> WorkflowVersion | BrokenWorkflow:
    """The version from its manifests and this code; `folder` is the one that it was in.

    `change` is applied to the workflow before its agents are built. Logs why it does not load, if so.
    """
    with TemporaryDirectory(prefix="mozaiks-version-") as directory:
        code.bundle.write_to(Path(directory))
        found = load(manifests.write_to(Path(directory)), environment, folder)
    if isinstance(found, LoadedWorkflow):
        workflow = change(replace(found.workflow, version=version))
        loaded = replace(found, workflow=workflow, manifests=manifests, code=code)
        built = build_version(loaded, models, environment)
        if isinstance(built, WorkflowVersion):
            return built
        found = built
    extra = {"version": version.short_form, "workflow": found.name, "problems": found.problems}
    log.warning("workflow version does not load with this code", extra=extra)
    return found

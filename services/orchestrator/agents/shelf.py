"""The versions that this process can run: the newest of each workflow, and those that chats began with."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from weakref import WeakValueDictionary

from contracts.ids import WorkflowName
from services.orchestrator.agents.models import Models
from services.orchestrator.agents.offer import (
    NO_OFFER,
    Edition,
    Offer,
    build_offer,
    build_performer,
    edition_of,
)
from services.orchestrator.agents.workbench import LeftBehind, Workbench
from services.orchestrator.runner import Staged
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.archive import Archive
from services.orchestrator.workflows.functions import ToolCode, tool_code
from services.orchestrator.workflows.loading import Broken, Loaded, load
from services.orchestrator.workflows.spec import Version
from services.orchestrator.workflows.versions import Parcel

log = logging.getLogger(__name__)

T = TypeVar("T")

LOAD_SECONDS = 60.0
"""How long all workflows may take to load: a tool's file runs when it is imported, and may hang."""
EARLIER = 64
"""Versions kept in memory beside the newest; others come from the archive again."""


class Shelf:
    """Where the runner finds the version that a chat goes on with."""

    def __init__(
        self,
        root: Path,
        models: Models,
        environment: Mapping[str, str],
        archive: Archive,
        call_limit: int,
    ) -> None:
        self.offer = NO_OFFER
        self._root = root
        self._models = models
        self._environment = environment
        self._archive = archive
        self._call_limit = call_limit
        self._earlier: OrderedDict[Version, Edition | Broken] = OrderedDict()
        self._bench = Workbench()
        self._left = LeftBehind()
        self._loading = asyncio.Lock()
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(self, changed: Collection[str] | None = None) -> Offer:
        """Look at the changed folders again, or at all of them; what is on offer from now on.

        Raises TimeoutError; then everything is as it was.
        """
        async with self._loading, asyncio.timeout(LOAD_SECONDS):
            before = self.offer
            build = partial(build_offer, self._root, self._models, self._environment)
            self.offer = await self._beside(partial(build, before, changed))
            for name, edition in before.editions.items():
                now = self._newest(name)
                if now is None or _version(now) != _version(edition):
                    self._earlier[_version(edition)] = edition
            self._trim()
            return self.offer

    async def of(self, state: ChatState, asked_for: WorkflowName | None = None) -> Staged | None:
        """As the runner's Repertoire says; what a chat is given, it can have again later."""
        newest = self._newest(state.workflow or asked_for)
        pinned = state.workflow_version
        if pinned is None or (newest and _version(newest).manifests == pinned):
            edition = newest
        else:
            edition = await self._pinned(Version(pinned, state.tools_version or ""), newest)
        if edition is None:
            return None
        await self._keep(edition)
        return Staged(edition.workflow, build_performer(edition, self._call_limit))

    async def keep_all(self) -> None:
        """Put every version that is loaded back into a store that was made anew.

        Raises UnavailableError.
        """
        self._archive.forget()
        earlier = [one for one in self._earlier.values() if isinstance(one, Edition)]
        for edition in [*self.offer.editions.values(), *earlier]:
            await self._keep(edition)

    def _newest(self, name: WorkflowName | None) -> Edition | None:
        return None if name is None else self.offer.editions.get(name)

    async def _keep(self, edition: Edition) -> None:
        version = _version(edition)
        await self._archive.keep(version.manifests, edition.loaded.manifests)
        await self._archive.keep(version.tools, edition.loaded.code.parcel)

    async def _pinned(self, began: Version, newest: Edition | None) -> Edition | None:
        """The chat's manifests, with the newest tool code that has all they name, else with its own.

        One chat at a time looks for a version, and the others find what it found.
        """
        async with self._fetching.setdefault(began.manifests, asyncio.Lock()):
            if newest is not None:
                code = newest.loaded.code
                version = Version(began.manifests, _version(newest).tools)
                if (edition := await self._edition(version, code)) is not None:
                    return edition
            return await self._edition(began, None)

    async def _edition(self, version: Version, code: ToolCode | None) -> Edition | None:
        found = self._earlier.get(version) or await self._restored(version, code)
        if found is None:
            return None
        self._earlier[version] = found
        self._earlier.move_to_end(version)
        self._trim()
        return found if isinstance(found, Edition) else None

    async def _restored(self, version: Version, code: ToolCode | None) -> Edition | Broken | None:
        """None where the archive has it not."""
        manifests = await self._manifests(version.manifests)
        code = code or await self._code(version.tools, manifests)
        if manifests is None or code is None:
            return None
        home = self._root / manifests.folder
        work = partial(restored, version, manifests, code, home, self._models, self._environment)
        async with asyncio.timeout(LOAD_SECONDS):
            return await self._beside(work)

    async def _manifests(self, digest: str) -> Parcel | None:
        for edition in self._earlier.values():
            if isinstance(edition, Edition) and _version(edition).manifests == digest:
                return edition.loaded.manifests
        return await self._archive.find(digest)

    async def _code(self, digest: str, manifests: Parcel | None) -> ToolCode | None:
        """In the folder that it had, so that what lies beside it is found where it still lies."""
        if manifests is None or (found := await self._archive.find(digest)) is None:
            return None
        return tool_code(self._root / manifests.folder, found)

    async def _beside(self, work: Callable[[], T]) -> T:
        """In a thread, which is left behind where what it imports hangs."""
        self._left.refuse_more()
        done: T = await self._bench.run_blocking(work, self._left)
        return done

    def _trim(self) -> None:
        while len(self._earlier) > EARLIER:
            self._earlier.popitem(last=False)


def restored(
    version: Version,
    manifests: Parcel,
    code: ToolCode,
    home: Path,
    models: Models,
    environment: Mapping[str, str],
) -> Edition | Broken:
    """A version as it was when its folder held it, with this code; said in the log where it fails."""
    with TemporaryDirectory(prefix="mozaiks-version-") as place:
        code.parcel.lay_out(Path(place))
        found = load(manifests.lay_out(Path(place)), environment, home)
    if isinstance(found, Loaded):
        workflow = replace(found.workflow, version=version)
        pinned = replace(found, workflow=workflow, manifests=manifests, code=code)
        edition = edition_of(pinned, models, environment)
        if isinstance(edition, Edition):
            return edition
        found = edition
    told = {"version": version.shown, "workflow": found.name, "why": found.problems}
    log.warning("a version does not load with this code", extra=told)
    return found


def _version(edition: Edition) -> Version:
    version = edition.workflow.version
    assert version is not None  # noqa: S101  whatever was read from a folder has one
    return version

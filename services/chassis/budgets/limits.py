"""The limits that apply in this process: those of the environment, and those set by command."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from pydantic import Field, ValidationError

from contracts import subjects
from contracts.budgets import NO_BUDGET, AppBudget, Limit, limits_of
from contracts.codec import describe
from contracts.ids import AppId
from contracts.subjects import InvalidSubjectError
from services.chassis.jetstream.direct_get import BEFORE_FIRST
from services.chassis.jetstream.errors import NatsUnavailableError, WrongLastSequenceError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import publish
from services.chassis.settings import Settings
from services.chassis.tasks import cancel_and_wait, repeat

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How soon a process knows of a limit that was set."""


class BudgetSettings(Settings):
    """Budgets by environment: orchestrator and transport need the same value."""

    budgets_json: dict[str, tuple[Limit, ...]] = Field(default_factory=dict)
    """Limits by app, `*` for every app: `{"*": [{"scope": "user", "unit": "tokens", "period": "day",
    "soft": 80000, "hard": 100000}]}`. What `mozaiks budgets set` sets comes first."""

    def configured_budgets(self) -> Mapping[AppId, AppBudget]:
        return {AppId(app): AppBudget(limits=limits) for app, limits in self.budgets_json.items()}


class BudgetLimits:
    """Follows bucket `budgets` by one small request a second; a look at the limits costs none."""

    def __init__(self, gateway: JetStreamGateway, configured: Mapping[AppId, AppBudget]) -> None:
        self._gateway = gateway
        self._configured = configured
        self._stored: dict[AppId, AppBudget] = {}
        self._cached: dict[AppId, tuple[Limit, ...]] = {}
        self._position = -1
        self._task: asyncio.Task[None] | None = None

    def of(self, app: AppId) -> tuple[Limit, ...]:
        """The limits of an app; empty for most."""
        if not self._stored and not self._configured:
            return ()
        found = self._cached.get(app)
        if found is None:
            found = self._cached[app] = limits_of(app, self._stored, self._configured)
        return found

    @property
    def apps(self) -> list[AppId]:
        """The apps that have limits of their own, `*` for those of every app."""
        return sorted({*self._configured, *self._stored})

    def stored(self, app: AppId) -> AppBudget:
        """The limits that were set for an app by command."""
        return self._stored.get(app, NO_BUDGET)

    async def start(self) -> None:
        """Returns once the limits are known. Raises NatsUnavailableError."""
        await self.refresh()
        self._task = asyncio.create_task(
            repeat(self._try_refresh, POLL_SECONDS, log), name="follow the limits of budgets"
        )

    async def stop(self) -> None:
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def refresh(self) -> None:
        """Read what has changed. Raises NatsUnavailableError."""
        reader = self._gateway.reader
        newest = await reader.last(_STREAM, _ALL)
        position = 0 if newest is None else int(newest.position)
        if position == self._position:
            return
        found: dict[AppId, AppBudget] = {}
        if newest is not None:
            async for message in reader.pages(_STREAM, _ALL, BEFORE_FIRST, goal=newest.position):
                app = _app(message.subject)
                if app is not None and not message.is_deleted:
                    found[app] = _budget(app, message.data)
        self._stored, self._cached, self._position = found, {}, position

    async def change(self, app: AppId, edit: Callable[[AppBudget], AppBudget]) -> AppBudget:
        """Replace the limits that were set for an app by what `edit` makes of them; returns them.

        Two changes at once are made one after the other. Raises NatsUnavailableError, and what
        `edit` raises.
        """
        gateway, subject = self._gateway, _subject(app)
        while True:
            before = await gateway.reader.last(_STREAM, subject)
            budget = edit(NO_BUDGET if before is None else _budget(app, before.data))
            after = 0 if before is None else before.position
            headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
            data = budget.model_dump_json(exclude_none=True).encode()
            with contextlib.suppress(WrongLastSequenceError):
                await publish(gateway.nc, gateway.storage, subject, data, headers)
                await self.refresh()
                return budget

    async def _try_refresh(self) -> None:
        try:
            await self.refresh()
        except NatsUnavailableError as error:
            log.debug("the limits of budgets cannot be read", extra={"why": str(error)})


_STREAM = subjects.bucket_stream(subjects.BUDGET_LIMITS)
_ALL = subjects.bucket_subject(subjects.BUDGET_LIMITS, ">")


def _subject(app: AppId) -> str:
    return subjects.bucket_subject(subjects.BUDGET_LIMITS, subjects.budget_key(app))


def _app(subject: str) -> AppId | None:
    try:
        return AppId(subjects.untoken(subject.rpartition(".")[2]))
    except InvalidSubjectError:
        return None


def _budget(app: AppId, data: bytes) -> AppBudget:
    """Nobody but this module writes there; limits of a newer release are not understood in part."""
    try:
        return AppBudget.model_validate_json(data or b"{}")
    except ValidationError as broken:
        log.warning(
            "the limits of an app cannot be read", extra={"app": app, "why": describe(broken)}
        )
        raise NatsUnavailableError(f"the limits of {app} cannot be read") from broken

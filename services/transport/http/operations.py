"""HTTP routes about the installation: its processes, and the apps that have limits."""

import asyncio

from litestar import get
from litestar.di import NamedDependency
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from contracts import subjects
from contracts.ids import new_message_id
from contracts.readiness import ReadinessRequested, ReadinessShown
from services.chassis.jetstream.subscription import subscribed
from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.operations import LimitedApps, ProcessesPage

TAG = "Operations"
SERVICES = ("metrics", "orchestrator", "persistence", "transport")
MOST_SECONDS = 1.0
"""How long processes may take to answer, where a service is missing."""
QUIET_SECONDS = 0.3
"""How long it is waited for more processes, once one of each service has answered."""


@get(
    "/api/operations/processes",
    **documented(TAG, "Whether every process is ready", open_to="operators"),
)
async def processes(context: NamedDependency[RequestContext]) -> ProcessesPage:
    """Asked of all processes over NATS: what each waits for, as its `/ready` says."""
    found = await ask_processes(context.services.gateway.nc)
    shown = sorted(found, key=lambda one: (one.service, one.process))
    names = {one.service for one in found}
    return ProcessesPage(processes=shown, missing=[one for one in SERVICES if one not in names])


@get(
    "/api/operations/apps",
    **documented(TAG, "The apps that have limits of their own", open_to="operators"),
)
async def limited_apps(context: NamedDependency[RequestContext]) -> LimitedApps:
    """What is used of them is at `/api/budgets/{app_id}`."""
    await context.services.budgets.refresh()
    apps = context.services.budgets.apps
    return LimitedApps(apps=[app for app in apps if context.identity.can_access_app(app)])


async def ask_processes(nc: Client) -> list[ReadinessShown]:
    """The answers that come in time. Raises NatsUnavailableError."""
    found: dict[str, ReadinessShown] = {}
    everyone = asyncio.Event()

    async def on_message(message: Msg) -> None:
        try:
            shown = ReadinessShown.model_validate_json(message.data)
        except ValidationError:  # no responders, or another release
            return
        found[shown.process] = shown
        if set(SERVICES) <= {one.service for one in found.values()}:
            everyone.set()

    subject = subjects.readiness_answer(new_message_id())
    async with subscribed(nc, subject, on_message):
        await nc.publish(
            subjects.READINESS, ReadinessRequested().model_dump_json().encode(), reply=subject
        )
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await everyone.wait()
        except TimeoutError:
            return list(found.values())
        await asyncio.sleep(QUIET_SECONDS)
    return list(found.values())


HANDLERS = [processes, limited_apps]

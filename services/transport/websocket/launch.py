"""Start other chats from within a chat, one or several at once."""

import asyncio

from contracts.subjects import token
from contracts.wire.client_messages import Run
from services.transport.context import RequestContext
from services.transport.errors import ApiError, api_error_from
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.session_frames import Blocked, Launched, LaunchResult


async def launch(context: RequestContext, view: ChatView, run: Run) -> LaunchResult:
    """Start a chat for the user and in the app of another chat; an error is part of the result."""
    try:
        return await _start(context, view, run)
    except Exception as raised:
        blocked = _blocked(run, api_error_from(raised, context.services.gateway.storage))
        if blocked is None:
            raise
        return blocked


def _blocked(run: Run, error: ApiError | None) -> Blocked | None:
    return None if error is None else Blocked(run.workflow_name, str(error), error.code)


async def launch_all(
    context: RequestContext, view: ChatView, runs: list[Run]
) -> list[LaunchResult]:
    """Start several chats at once, up to the limit of parallel starts; the rest are `Blocked`."""
    async with asyncio.TaskGroup() as group:
        limit = context.services.settings.mozaiks_max_parallel_workflows
        started = [group.create_task(launch(context, view, run)) for run in runs[:limit]]
    problem = f"runs: at most {limit} workflows can be started at once"
    blocked = [Blocked(run.workflow_name, problem, "LIMIT_REACHED") for run in runs[limit:]]
    return [*(task.result() for task in started), *blocked]


async def _start(context: RequestContext, view: ChatView, run: Run) -> Launched:
    token(run.workflow_name, "workflow_name")
    await context.services.workflows.startable(run.workflow_name)
    started = await context.chats.start(
        view.key.app,
        run.workflow_name,
        view.user,
        client_request_id=run.client_request_id,
        message=run.first_message,
        frontend_context=run.frontend_context,
    )
    return Launched(started.key, run.workflow_name, view.user, run.label)

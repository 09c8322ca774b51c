"""Other chats that a client starts from within the one that it looks at."""

import asyncio

from contracts.subjects import InvalidIdError, token
from services.chassis.direct_get import RefusedError, UnavailableError
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.inbound import Run, StartBody
from services.transport.notices import Blocked, Launch, Launched
from services.transport.refusals import RefusalError, malformed, unavailable


async def launch(desk: Desk, view: ChatView, run: Run) -> Launch:
    """Start a chat for the user of another one, in the same app."""
    try:
        return await _begun(desk, view, run)
    except RefusalError as refusal:
        return Blocked(run.workflow_name, str(refusal), refusal.code)


async def launch_all(desk: Desk, view: ChatView, runs: list[Run]) -> list[Launch]:
    """Start several at once, as many as may run side by side; the others are said to be blocked."""
    async with asyncio.TaskGroup() as group:
        most = desk.max_parallel_workflows
        begun = [group.create_task(launch(desk, view, run)) for run in runs[:most]]
    why = f"runs: at most {most} workflows start at once"
    blocked = [Blocked(run.workflow_name, why, "LIMIT_REACHED") for run in runs[most:]]
    return [*(task.result() for task in begun), *blocked]


async def _begun(desk: Desk, view: ChatView, run: Run) -> Launched:
    try:
        token(run.workflow_name, "workflow_name")
        await desk.workflows.offered(run.workflow_name)
        body = StartBody(
            user_id=view.user,
            client_request_id=run.client_request_id,
            force_new=None,
            message=run.first_message,
            frontend_context=run.frontend_context,
        )
        started = await desk.chats.start(view.key.app, run.workflow_name, body)
    except InvalidIdError as invalid:
        raise malformed(invalid.field, invalid.problem) from invalid
    except (UnavailableError, RefusedError) as away:
        raise unavailable(desk.bus.storage) from away
    return Launched(started.key, run.workflow_name, view.user, run.label)

"""Starts an AG-UI run: finds or starts the chat of the thread, and sends each command once."""

from dataclasses import dataclass

from contracts.commands import StartChat
from contracts.ids import AppId, ChatId, ChatKey, UserId, WorkflowName, chat_id_of_start
from contracts.message_ids import message_command_id, start_command_id
from services.transport.agui import ids
from services.transport.agui.commands import (
    AnswerComponent,
    AnswerText,
    RunCommand,
    SendText,
    commands_for,
    completion_ids,
    require_new_thread,
)
from services.transport.agui.run_input import RunInput
from services.transport.agui.state import ThreadHistory, ThreadState, extend, start_state
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView


@dataclass(frozen=True, slots=True)
class RunTarget:
    """App, workflow and user of a run."""

    app: AppId
    workflow: WorkflowName
    user: UserId


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A started run: the state it streams from, and the ids that must complete before it may end."""

    view: ChatView
    state: ThreadState
    completion_ids: frozenset[str]


async def start_run(
    context: RequestContext, target: RunTarget, run_input: RunInput
) -> StartedRun | None:
    """None where the chat has not started in time: the client may send the same run again.

    Raises ApiError, InvalidIdError, NatsUnavailableError, NatsRejectedError.
    """
    key = await _find_thread(context, target, run_input) or await _start_thread(
        context, target, run_input
    )
    if key is None:
        return None
    history = await _read_history(context, key, run_input)
    view = await context.chats.find(key, target.workflow, target.user)
    commands = commands_for(run_input, history)
    for command in commands:
        await _send(context, view, command, run_input.run)
    return StartedRun(
        view, start_state(history, run_input.after, run_input.action_ids), completion_ids(commands)
    )


async def _find_thread(
    context: RequestContext, target: RunTarget, run_input: RunInput
) -> ChatKey | None:
    """The chat that the thread started, else the chat of the user with this id."""
    for chat in (_chat_id(target, run_input), ChatId(run_input.thread)):
        key = ChatKey(target.app, chat)
        try:
            await context.chats.find(key, target.workflow, target.user)
        except ApiError as error:
            # A chat of another user with this id does not exist for this one, who may start a thread.
            if error.code != "CHAT_NOT_FOUND" and error.field != "user_id":
                raise
        else:
            return key
    return None


def _chat_id(target: RunTarget, run_input: RunInput) -> ChatId:
    return chat_id_of_start(target.app, target.workflow, target.user, run_input.thread)


async def _start_thread(
    context: RequestContext, target: RunTarget, run_input: RunInput
) -> ChatKey | None:
    require_new_thread(run_input)
    await context.services.workflows.startable(target.workflow)
    key, message = ChatKey(target.app, _chat_id(target, run_input)), run_input.message
    start = StartChat(
        command_id=start_command_id(
            key, run_input.thread if message is None else message.id, "messages"
        ),
        app_id=key.app,
        chat_id=key.chat,
        user_id=target.user,
        workflow_name=target.workflow,
        client_request_id=run_input.thread,
        message=None if message is None else message.text,
        variables=dict(run_input.variables),
    )
    return key if await context.chats.send_start(start) else None


async def _read_history(
    context: RequestContext, key: ChatKey, run_input: RunInput
) -> ThreadHistory:
    history = ThreadHistory()
    async for commit in context.services.gateway.events.read(key):
        for fact in commit.facts:
            history = extend(history, fact, run_input.after, run_input.action_ids)
    return history


async def _send(context: RequestContext, view: ChatView, command: RunCommand, run: str) -> None:
    match command:
        case SendText(message):
            sent = message_command_id(view.key, message.id, "messages")
            await context.chats.send_message(view, message.text, sent)
        case AnswerText(question, answer, message):
            sent = (
                ids.answer_command_id(question, run)
                if message is None
                else message_command_id(view.key, message.id, "messages")
            )
            await context.chats.answer_question(view, question, answer, "resume", command=sent)
        case AnswerComponent(question, response):
            sent = ids.answer_command_id(question, run)
            await context.chats.answer_component(view, question, response, "resume", command=sent)

"""HTTP routes that send messages and answers to a chat, stop its answer, and cancel it."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from contracts.ids import ChatId, ChatKey
from contracts.message_ids import answer_command_id, message_command_id
from services.transport.chats.answers import OnBehalfOf, TextAnswer, chat_of
from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.messages import (
    AnswerAccepted,
    AnswerRequest,
    CancelAccepted,
    CancelRequest,
    ComponentActionRequest,
    ComponentAnswerRequest,
    MessageAccepted,
    MessageRequest,
    QuestionAnswerRequest,
    StopAccepted,
    StopRequest,
    VariablesSet,
)
from services.transport.http.parameters import AppIdPath, ChatIdPath, QuestionIdPath, UserIdPath
from services.transport.path_segments import chat_key, decode_segment

TAG = "Messages"


def _chat(question: str, chat: ChatId | None) -> ChatKey | None:
    """The chat that is answered, where the request names it. Raises ApiError."""
    return None if chat is None else ChatKey(chat_of(question, "chat_id").app, chat)


@post(
    "/api/user-input/submit",
    status_code=200,
    **documented(TAG, "Answer a question with text", 400, 404, 413),
)
async def answer_question(
    context: NamedDependency[RequestContext], data: JSONBody[AnswerRequest]
) -> AnswerAccepted:
    view = await context.chats.find_by_question(
        data.input_request_id, "input_request_id", chat=_chat(data.input_request_id, data.chat_id)
    )
    answer = TextAnswer(data.user_input)
    command = answer_command_id(data.input_request_id, data.client_message_id)
    await context.chats.answer_question(
        view, data.input_request_id, answer, "input_request_id", command=command
    )
    return AnswerAccepted()


@post(
    "/api/ui-tool/submit",
    status_code=200,
    **documented(TAG, "Answer a question with a component", 400, 404, 413),
)
async def answer_component(
    context: NamedDependency[RequestContext], data: JSONBody[ComponentAnswerRequest]
) -> AnswerAccepted:
    view = await context.chats.find_by_question(
        data.event_id, "event_id", chat=_chat(data.event_id, data.chat_id)
    )
    command = answer_command_id(data.event_id, data.client_message_id)
    await context.chats.answer_component(
        view, data.event_id, data.response_data, "event_id", command=command
    )
    return AnswerAccepted()


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/questions/{question_id:str}/answer",
    status_code=200,
    **documented(TAG, "Answer a question, or approve a call", 400, 404, 413),
)
async def answer_any_question(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    question_id: QuestionIdPath,
    data: JSONBody[QuestionAnswerRequest],
) -> AnswerAccepted:
    """Also for those who are asked instead of the chat's user. The first answer counts: any later one
    gets 404, unless it is the same request again, by its `client_request_id`."""
    key, question = chat_key(app_id, chat_id), decode_segment(question_id, "question_id")
    other = OnBehalfOf(data.user_id, data.role)
    view = await context.chats.find_by_question(question, "question_id", other, key)
    command = answer_command_id(question, data.client_request_id)
    if data.response is not None:
        await context.chats.answer_component(
            view, question, data.response, "question_id", other, command
        )
        return AnswerAccepted()
    answer = TextAnswer(data.text or "", data.approved, data.always, data.arguments_digest)
    await context.chats.answer_question(view, question, answer, "question_id", other, command)
    return AnswerAccepted()


@post(
    "/chat/{app_id:str}/{chat_id:str}/component_action",
    status_code=200,
    **documented(TAG, "Set context variables from a component", 400, 403, 404, 409, 413),
)
async def component_action(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[ComponentActionRequest],
) -> VariablesSet:
    view = await context.chats.find_for_command(chat_key(app_id, chat_id), user=data.user_id)
    applied = data.action_data.set
    await context.chats.set_variables(view, applied, "action_data.set", data.component_id)
    return VariablesSet(applied=applied, timestamp=context.services.clock())


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/cancel",
    status_code=200,
    **documented(TAG, "Cancel a chat", 400, 404, 409, 413),
)
async def cancel_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[CancelRequest],
) -> CancelAccepted:
    view = await context.chats.find_for_command(chat_key(app_id, chat_id), user=data.user_id)
    await context.chats.cancel(view, data.reason)
    return CancelAccepted()


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/stop",
    status_code=200,
    **documented(TAG, "Stop the running answer", 400, 404, 413),
)
async def stop_answer(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[StopRequest],
) -> StopAccepted:
    """Ends the answer and nothing else: what was shown of it is kept, and it is the user's turn.

    Where no answer runs, nothing happens, however often it is asked for.
    """
    view = await context.chats.find_for_command(chat_key(app_id, chat_id), user=data.user_id)
    is_running = await context.chats.stop_answer(view, data.turn)
    return StopAccepted(status="accepted" if is_running else "not_running")


@post(
    "/chat/{app_id:str}/{chat_id:str}/{user_id:str}/input",
    status_code=200,
    **documented(TAG, "Send a message of the user", 400, 404, 409, 413),
)
async def send_message(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdPath,
    data: JSONBody[MessageRequest],
) -> MessageAccepted:
    """The agents' replies come with the chat's events. A message with a `client_message_id` may be sent
    again, to any replica: it is in the chat once."""
    user = decode_segment(user_id, "user_id")
    view = await context.chats.find_for_command(chat_key(app_id, chat_id), user=user)
    sent = data.client_message_id
    command = None if sent is None else message_command_id(view.key, sent, "client_message_id")
    await context.chats.send_message(view, data.message, command)
    return MessageAccepted()


HANDLERS = [
    answer_question,
    answer_component,
    answer_any_question,
    component_action,
    cancel_chat,
    stop_answer,
    send_message,
]

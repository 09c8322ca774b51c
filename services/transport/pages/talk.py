"""What a person says to a chat: words, answers, enough."""

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.transport import inbound
from services.transport.addresses import key_of, plain
from services.transport.desk import Desk
from services.transport.inbound import (
    AnswerBody,
    CancelBody,
    ComponentActionBody,
    ComponentBody,
    InputBody,
)
from services.transport.openapi import Told, told

AnyRequest = Request[Any, Any, Any]
Json = dict[str, Any]

ACCEPTED = "The answer was accepted."
SET = "The variables are set."
REFUSALS = (400, 404, 413, 503)


@post(
    "/api/user-input/submit",
    status_code=200,
    opt=told(
        Told(
            "Answer a question in words.",
            {"status": "success", "message": ACCEPTED},
            body=AnswerBody,
            said={"input_request_id": "acme.c-1.1.0.call-1", "user_input": "red"},
            refusals=REFUSALS,
        )
    ),
)
async def answer(desk: NamedDependency[Desk], request: AnyRequest) -> Json:
    said = inbound.body(AnswerBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.of_question(said.input_request_id, "input_request_id")
    await desk.chats.answer(view, said.input_request_id, said.user_input)
    return {"status": "success", "message": ACCEPTED}


@post(
    "/api/ui-tool/submit",
    status_code=200,
    opt=told(
        Told(
            "Answer a component.",
            {"status": "success", "message": ACCEPTED},
            body=ComponentBody,
            said={"event_id": "acme.c-1.1.0.call-1", "response_data": {"colour": "red"}},
            refusals=REFUSALS,
        )
    ),
)
async def answer_component(desk: NamedDependency[Desk], request: AnyRequest) -> Json:
    said = inbound.body(ComponentBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.of_question(said.event_id, "event_id")
    await desk.chats.answer_component(view, said.event_id, said.response_data, "event_id")
    return {"status": "success", "message": ACCEPTED}


@post(
    "/chat/{app_id:str}/{chat_id:str}/component_action",
    status_code=200,
    opt=told(
        Told(
            "Set context variables by a component; agents see them from their next turn on.",
            {
                "status": "success",
                "message": SET,
                "applied": {"colour": "red"},
                "timestamp": "2026-11-25T12:00:00+00:00",
            },
            body=ComponentActionBody,
            said={
                "component_id": "palette",
                "action_type": "pick",
                "action_data": {"set": {"colour": "red"}},
                "user_id": "ana",
            },
            refusals=(400, 404, 409, 413, 503),
        )
    ),
)
async def act(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], chat_id: FromPath[str]
) -> Json:
    said = inbound.body(ComponentActionBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.find(key_of(app_id, chat_id), user=said.user_id)
    applied = said.action_data.set
    await desk.chats.set_variables(view, applied, "action_data.set")
    now = desk.clock().isoformat()
    return {"status": "success", "message": SET, "applied": applied, "timestamp": now}


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/cancel",
    status_code=200,
    opt=told(
        Told(
            "Stop a chat.",
            {"status": "accepted"},
            body=CancelBody,
            said={"user_id": "ana", "reason": "enough"},
            refusals=(400, 404, 409, 413, 503),
        )
    ),
)
async def cancel(
    desk: NamedDependency[Desk], request: AnyRequest, app_id: FromPath[str], chat_id: FromPath[str]
) -> Json:
    said = inbound.body(CancelBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.find(key_of(app_id, chat_id), user=said.user_id)
    await desk.chats.cancel(view, said.reason)
    return {"status": "accepted"}


@post(
    "/chat/{app_id:str}/{chat_id:str}/{user_id:str}/input",
    status_code=200,
    opt=told(
        Told(
            "Say something; the answer comes by the chat's events.",
            {"status": "accepted", "transport": None},
            body=InputBody,
            said={"message": "Hello"},
            refusals=(400, 404, 409, 413, 503),
        )
    ),
)
async def say(
    desk: NamedDependency[Desk],
    request: AnyRequest,
    app_id: FromPath[str],
    chat_id: FromPath[str],
    user_id: FromPath[str],
) -> Json:
    said = inbound.body(InputBody, await request.body(), desk.max_message_bytes)
    view = await desk.chats.find(key_of(app_id, chat_id), user=plain(user_id, "user_id"))
    await desk.chats.say(view, said.message)
    return {"status": "accepted", "transport": None}


HANDLERS = [answer, answer_component, act, cancel, say]

"""HTTP routes of links that answer a question: issue one, show its question, answer it once."""

from html import escape
from urllib.parse import parse_qs

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse
from pydantic import ValidationError

from contracts.answer_links import AnswerLink, ExpiredLinkError, InvalidLinkError
from contracts.approvals import ALWAYS, APPROVE, DENY
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.ids import UserId
from contracts.subjects import InvalidIdError
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.transport.auth.principal import Principal
from services.transport.chats.answers import OnBehalfOf, TextAnswer
from services.transport.chats.service import AskedQuestion
from services.transport.context import RequestContext
from services.transport.errors import ApiError, api_error_from
from services.transport.http.api_document import answer, documented
from services.transport.http.json_request import AnyRequest
from services.transport.http.models.answer_links import (
    AnswerLinkIssued,
    AnswerLinkRequest,
    LinkedQuestion,
)
from services.transport.http.models.messages import AnswerAccepted, QuestionAnswerRequest
from services.transport.http.parameters import (
    AppIdPath,
    ChatIdPath,
    LinkTokenPath,
    QuestionIdPath,
)
from services.transport.path_segments import chat_key, decode_segment
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.validation import parse_object, validation_error

TAG = "Answer links"
FORM = "application/x-www-form-urlencoded"
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "x-robots-tag": "noindex",
}
"""The page has no script and loads nothing; its address must reach nobody else."""
_LINK_ERRORS = (400, 404, 410)
CLIENT_ERRORS = (ApiError, InvalidIdError, NatsUnavailableError, NatsRejectedError)
"""What may be shown as a page."""


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/questions/{question_id:str}",
    **documented(TAG, "An open question, for those who may answer it", 400, 404),
)
async def open_question(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    question_id: QuestionIdPath,
) -> LinkedQuestion:
    """The whole question, also for approvers, who do not see the chat."""
    key, question = chat_key(app_id, chat_id), decode_segment(question_id, "question_id")
    view = await context.chats.find_by_question(question, "question_id", chat=key)
    return _model(view, await context.chats.asked_question(view, question, "question_id"))


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/questions/{question_id:str}/link",
    status_code=200,
    **documented(TAG, "A link that answers a question once", 400, 404, 409),
)
async def issue_link(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    question_id: QuestionIdPath,
    data: JSONBody[AnswerLinkRequest],
) -> AnswerLinkIssued:
    """For who may answer, and for back ends, which name the user who will. Whoever has the link can
    answer by it, without a token."""
    key, question = chat_key(app_id, chat_id), decode_segment(question_id, "question_id")
    other = OnBehalfOf(data.user_id, data.role)
    view = await context.chats.find_by_question(question, "question_id", other, key)
    services = context.services
    issued = await context.chats.issue_link(
        services.answer_links, view, question, "question_id", services.clock(), other
    )
    return AnswerLinkIssued(url=issued.url, expires_at=issued.link.expires_at)


@get(
    "/answer/{token:str}",
    **documented(
        TAG,
        "The question of a link",
        *_LINK_ERRORS,
        open_to="everyone",
        answers={200: answer(LinkedQuestion, "The question; a page where HTML is accepted.")},
    ),
)
async def show_linked_question(
    context: NamedDependency[RequestContext], request: AnyRequest, token: LinkTokenPath
) -> ASGIResponse:
    """Never answers: mail scanners and previews follow links."""
    try:
        link = _read(context, token)
        chats = _for_link(context, link).chats
        view = await chats.find_by_question(link.question_id, "link", chat=link.key)
        asked = await chats.asked_question(view, link.question_id, "link")
    except CLIENT_ERRORS as raised:
        return _page_of_error(context, request, raised)
    if _wants_page(request):
        return _page(_question_page(asked))
    return _json(_model(view, asked))


@post(
    "/answer/{token:str}",
    status_code=200,
    **documented(
        TAG,
        "Answer the question of a link",
        *(*_LINK_ERRORS, 413),
        open_to="everyone",
        answers={200: answer(AnswerAccepted, "Accepted; a page where HTML is accepted.")},
    ),
)
async def answer_by_link(
    context: NamedDependency[RequestContext], request: AnyRequest, token: LinkTokenPath
) -> ASGIResponse:
    """The form of the page, or the JSON body of the route that answers a question. The first answer
    counts: the link cannot be used again."""
    try:
        link = _read(context, token)
        given = await _given_answer(request)
        await _answer(_for_link(context, link), link, given)
    except CLIENT_ERRORS as raised:
        return _page_of_error(context, request, raised)
    if _wants_page(request):
        return _page("<h1>Thank you</h1><p>The answer was accepted.</p>")
    return _json(AnswerAccepted())


def _read(context: RequestContext, token: str) -> AnswerLink:
    services = context.services
    if services.answer_links is None:
        raise ApiError("LINK_INVALID", "link", "is not valid")
    try:
        return services.answer_links.read(decode_segment(token, "link"), services.clock())
    except ExpiredLinkError as expired:
        raise ApiError("LINK_EXPIRED", "link", "has expired") from expired
    except InvalidLinkError as invalid:
        raise ApiError("LINK_INVALID", "link", "is not valid") from invalid


def _for_link(context: RequestContext, link: AnswerLink) -> RequestContext:
    """A request that may do what the link says, and nothing else."""
    identity = Principal(
        user=link.answerer,
        apps=frozenset([link.app_id]),
        scopes=frozenset(),
        roles=frozenset() if link.role is None else frozenset([link.role]),
        expires_at=link.expires_at,
    )
    return context.services.for_request(identity)


async def _answer(context: RequestContext, link: AnswerLink, given: QuestionAnswerRequest) -> None:
    chats = context.chats
    try:
        view = await chats.find_by_question(link.question_id, "link", chat=link.key)
        if given.response is not None:
            await chats.answer_component(view, link.question_id, given.response, "link")
            return
        digest = link.digest if given.arguments_digest is None else given.arguments_digest
        text = TextAnswer(given.text or "", given.approved, given.always, digest)
        await chats.answer_question(view, link.question_id, text, "link")
    except ApiError as error:
        if error.code != "QUESTION_NOT_OPEN":
            raise
        problem = "the question is answered already, or is not open any more: a link answers once"
        raise ApiError("QUESTION_NOT_OPEN", "link", problem) from error


async def _given_answer(request: AnyRequest) -> QuestionAnswerRequest:
    """The answer in a form or in JSON. Raises ApiError."""
    body = await request.body()
    if not request.headers.get("content-type", "").startswith(FORM):
        try:
            return QuestionAnswerRequest.model_validate(parse_object("body", body))
        except ValidationError as invalid:
            raise validation_error(invalid, "body") from invalid
    form = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    choice = form.get("choice", [""])[0]
    text = form.get("text", [""])[0].strip()
    decisions = {
        APPROVE: QuestionAnswerRequest(text=text or None, approved=True),
        ALWAYS: QuestionAnswerRequest(text=text or None, approved=True, always=True),
        DENY: QuestionAnswerRequest(text=text or None, approved=False),
    }
    if "decide" in form and choice in decisions:
        return decisions[choice]
    if not (choice or text):
        raise ApiError("SCHEMA_VALIDATION_FAILED", "text", "must not be empty")
    return QuestionAnswerRequest(text=choice or text)


def _model(view: ChatView, asked: AskedQuestion) -> LinkedQuestion:
    event, now = asked.event, asked.now
    asked_text = event if isinstance(event, HumanAsked) else None
    return LinkedQuestion(
        app_id=view.key.app,
        chat_id=view.key.chat,
        workflow_name=view.workflow_name,
        user_id=UserId(view.user),
        question_id=event.question_id,
        kind=now.kind,
        agent=event.agent,
        prompt=None if asked_text is None else asked_text.prompt,
        options=[] if asked_text is None else asked_text.options,
        component=event.component if isinstance(event, UiToolRequested) else None,
        payload=event.payload if isinstance(event, UiToolRequested) else None,
        tool=now.tool,
        digest=now.digest,
        allow_always=now.allow_always,
        asked_at=now.asked_at,
        expires_at=now.expires_at,
    )


# -- the page --------------------------------------------------------------------------------------


def _wants_page(request: AnyRequest) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _page_of_error(context: RequestContext, request: AnyRequest, raised: Exception) -> ASGIResponse:
    """The error as a page; raises it where the client wants no page, or it is a fault of ours."""
    error = api_error_from(raised, context.services.gateway.storage)
    if error is None or not _wants_page(request):
        raise raised
    context.services.metrics.errors.labels(error.code).inc()
    return _page(f"<h1>Not possible</h1><p>{escape(str(error))}</p>", error.status)


def _question_page(asked: AskedQuestion) -> str:
    event = asked.event
    if isinstance(event, UiToolRequested):
        return (
            f"<h1>{escape(event.agent)} shows {escape(event.component)}</h1>"
            "<p>This can only be answered in the chat.</p>"
        )
    buttons = "".join(map(_button, event.options))
    if event.approval is None:
        field = '<p><textarea name="text" rows="4" aria-label="Your answer"></textarea></p>'
        form = f'{buttons}{field}<button type="submit">Answer</button>'
    else:
        form = (
            '<p><input name="text" aria-label="Reason" placeholder="Reason (optional)"></p>'
            f'<input type="hidden" name="decide" value="1">{buttons}'
        )
    return (
        f"<h1>{escape(event.agent)} asks</h1><pre>{escape(event.prompt)}</pre>"
        f'<form method="post">{form}</form>'
    )


def _button(option: str) -> str:
    text = escape(option, quote=True)
    return f'<button type="submit" name="choice" value="{text}">{text}</button> '


def _page(content: str, status: int = 200) -> ASGIResponse:
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Question</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}"
        "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f3f3f3;padding:1rem}"
        "button{font:inherit;padding:.5rem 1rem;margin:0 .25rem .5rem 0}"
        "input,textarea{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}</style></head>"
        f"<body><main>{content}</main></body></html>"
    )
    return ASGIResponse(
        body=body.encode(), status_code=status, media_type="text/html", headers=_HEADERS
    )


def _json(model: LinkedQuestion | AnswerAccepted) -> ASGIResponse:
    headers = {"cache-control": "no-store"}
    return ASGIResponse(
        body=model.model_dump_json().encode(), media_type="application/json", headers=headers
    )


HANDLERS = [open_question, issue_link, show_linked_question, answer_by_link]

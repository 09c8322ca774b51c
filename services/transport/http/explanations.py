"""The HTTP route that explains a chat to operators: what it waits for, since when, and why."""

import asyncio
import zlib

from litestar import get
from litestar.di import NamedDependency
from nats.aio.client import Client

from contracts import subjects
from contracts.budget_report import Asked
from contracts.explanation import ChatAccount, ExplanationFound, ExplanationRequested
from contracts.ids import ChatKey, Seq, new_message_id
from services.chassis.budgets.reading import read_report
from services.chassis.jetstream.subscription import ask
from services.transport.context import RequestContext
from services.transport.delivery.stored_snapshots import StoredSnapshots
from services.transport.http.api_document import documented
from services.transport.http.models.budgets import LimitStatus
from services.transport.http.models.explanations import Explanation, ReadModelLag
from services.transport.http.parameters import AppIdPath, ChatIdPath
from services.transport.path_segments import chat_key
from services.transport.protocol.chat_projection import ChatView

TAG = "Operations"
ANSWER_SECONDS = 5.0
"""How long an orchestrator may take."""


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/explain",
    **documented(TAG, "What a chat waits for, and why", 400, 404, open_to="operators"),
)
async def explain(
    context: NamedDependency[RequestContext], app_id: AppIdPath, chat_id: ChatIdPath
) -> Explanation:
    """Asked of an orchestrator, whose rules decide it. Where none answers, `problem` says so, which is
    then why nothing happens."""
    key = chat_key(app_id, chat_id)
    view = await context.chats.find_for_operator(key)
    gateway = context.services.gateway
    account, problem = await ask_orchestrator(gateway.nc, key)
    services = context.services
    await services.budgets.refresh()
    asked = Asked(users=frozenset([view.user]), chats=frozenset([key.chat]))
    now = services.clock()
    uses = await read_report(services.budgets, services.ledgers, key.app, now, asked)
    return Explanation(
        account=account or _account_of(view),
        problem=problem,
        total_tokens=view.totals.total_tokens,
        cost=view.totals.cost,
        limits=[LimitStatus(**one.model_dump()) for one in uses],
        read_model=await _read_model(context, key, view.last_seq),
    )


async def ask_orchestrator(nc: Client, key: ChatKey) -> tuple[ChatAccount | None, str | None]:
    """The account of a chat, or the problem why there is none. Raises NatsUnavailableError."""
    request = ExplanationRequested(app_id=key.app, chat_id=key.chat)
    data = request.model_dump_json().encode()
    answer_subject = subjects.explained(new_message_id())
    try:
        answer = await ask(nc, subjects.EXPLANATIONS, data, answer_subject, ANSWER_SECONDS)
    except TimeoutError:
        return None, f"no orchestrator answered within {ANSWER_SECONDS:g} s"
    if answer is None:
        return None, "no orchestrator is running"
    found = ExplanationFound.model_validate_json(zlib.decompress(answer.data))
    return found.account, found.problem


def _account_of(view: ChatView) -> ChatAccount:
    """What the transport knows itself."""
    return ChatAccount(
        app_id=view.app_id,
        chat_id=view.chat_id,
        workflow_name=view.workflow_name,
        user_id=view.user,
        last_seq=view.last_seq,
        since=view.last_updated_at,
        sentence=f"Its status is {view.status}; only an orchestrator knows more.",
    )


async def _read_model(context: RequestContext, key: ChatKey, last: Seq) -> ReadModelLag:
    clock = asyncio.get_running_loop().time
    found = await StoredSnapshots(context.services.gateway.lookups, clock).find(key)
    known = None if found is None or found.snapshot is None else found.snapshot.last_seq
    return ReadModelLag(last_seq=known, behind=None if known is None else max(last - known, 0))


HANDLERS = [explain]

"""Every route: requested without a token, with an invalid one, and with one of somebody else."""

import re
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler

from contracts import subjects
from contracts.catalogue import ChatSummary, WorkflowCard
from contracts.erasure import Erasure
from contracts.events.chat import AttachmentUploaded
from contracts.ids import AppId, ChatKey, Seq, WorkflowName, new_chat_id
from contracts.large_values import LargeValue
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import ACCESS_KEY
from services.transport.http import routes
from services.transport.http.api_document import build_document
from tests.thorough import tries
from tests.transport.auth.issuer import Issuer
from tests.transport.persistence import answering
from tests.transport.story import (
    ANA,
    NOON,
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    component_requested,
    publish_cards,
    question_asked,
    remove_commands,
    user_message,
)

pytestmark = pytest.mark.broker

SECRET = "what ana said to nobody else"
ATTACHED = AttachmentUploaded(
    attachment_id="att_1",
    user_id=ANA,
    filename="letter.txt",
    size_bytes=len(SECRET),
    content_type="text/plain",
    digest="00",
)
TITLE = "what ana calls it"


DOCUMENT = build_document(routes.HANDLERS)
UNDESCRIBED = {"rest": "aggregate", "name": "start.js"}
"""What stands in the paths of routes that the OpenAPI document leaves out."""


ASKED_OF_ORCHESTRATORS = ("/model-calls/{seq:int}", "/source", "/draft")
SPAN = {"since": "2026-11-01T00:00:00Z", "until": "2026-11-02T00:00:00Z"}


@dataclass(frozen=True)
class Page:
    """One address of one handler."""

    handler: HTTPRouteHandler
    method: str
    path: str

    @property
    def open_to(self) -> str:
        return str(self.handler.opt.get(ACCESS_KEY, "users"))

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Of its operation in the OpenAPI document; none where it is not described."""
        parameters: list[dict[str, Any]] = self._operation.get("parameters", [])
        return parameters

    @property
    def body(self) -> tuple[str, dict[str, Any]] | None:
        """The media type and the example of its body."""
        for media_type, content in (
            self._operation.get("requestBody", {}).get("content", {}).items()
        ):
            return media_type, example_of(content["schema"])
        return None

    @property
    def _operation(self) -> dict[str, Any]:
        path = DOCUMENT["paths"].get(re.sub(r":\w+}", "}", self.path), {})
        operation: dict[str, Any] = path.get(self.method.lower(), {})
        return operation

    @property
    def names_an_id(self) -> bool:
        """Whether it takes an id of an app, a chat, a user or a question, wherever it takes it."""
        in_query = any(
            parameter["in"] == "query" and parameter["required"] for parameter in self.parameters
        )
        return in_query or self.body is not None or "_id:" in self.path

    @property
    def names_a_user(self) -> bool:
        """Whether it has to be told whose chat it is about."""
        return any(one["name"] == "user_id" and one["required"] for one in self.parameters)

    @property
    def names_an_app(self) -> bool:
        """Whether its path has the id of an app."""
        return "{app_id:" in self.path

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    async def ask(
        self, http: httpx.AsyncClient, named: dict[str, str], headers: dict[str, str]
    ) -> httpx.Response:
        """Ask for it with these ids wherever it takes an id: in the path, the query, the body."""

        described = {one["name"]: value_of(one) for one in self.parameters if one["in"] == "path"}
        known = {**described, **UNDESCRIBED, **named}

        def of(match: re.Match[str]) -> str:
            return quote(str(known.get(match[1], "")), safe="")

        sent: dict[str, Any] = {}
        if self.body is not None:
            media_type, example = self.body
            body = {name: named.get(name, value) for name, value in example.items()}
            if media_type == "application/json":
                sent = {"json": body}
            else:
                file = ("prices.csv", str(body.pop("file")).encode(), "text/csv")
                sent = {"data": body, "files": {"file": file}}
        in_query = [parameter for parameter in self.parameters if parameter["in"] == "query"]
        query = {
            parameter["name"]: named.get(parameter["name"]) or SPAN[parameter["name"]]
            for parameter in in_query
            if parameter["required"]
        }
        query |= {"wait": "0"} if any(parameter["name"] == "wait" for parameter in in_query) else {}
        path = re.sub(r"{(\w+):\w+}", of, self.path)
        return await http.request(self.method, path, params=query, headers=headers, **sent)


def value_of(parameter: dict[str, Any]) -> Any:
    """The example that the document gives for a parameter."""
    return next(iter(parameter["examples"].values()))["value"]


def example_of(schema: dict[str, Any]) -> dict[str, Any]:
    if "examples" not in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    example: dict[str, Any] = schema["examples"][0]
    return example


PAGES = [
    Page(handler, str(method), path)
    for handler in routes.HANDLERS
    for path in sorted(handler.paths)
    for method in sorted(handler.http_methods)
]
GUARDED = [page for page in PAGES if page.open_to != "everyone"]
OF_USERS = [page for page in PAGES if page.open_to == "users"]
OF_ADMINISTRATORS = [page for page in PAGES if page.open_to == "administrators"]
OF_OPERATORS = [page for page in PAGES if page.open_to == "operators"]

INVALID_TOKENS: dict[str, Callable[[Issuer], str | None]] = {
    "none": lambda _: None,
    "empty": lambda _: "Bearer",
    "another scheme": lambda issuer: f"Basic {issuer.token()}",
    "garbage": lambda _: "Bearer a.b.c",
    "no token at all": lambda _: "Bearer x",
    "expired": lambda issuer: f"Bearer {issuer.token(exp=issuer.claims()['iat'] - 121)}",
    "not good yet": lambda issuer: f"Bearer {issuer.token(nbf=issuer.claims()['iat'] + 300)}",
    "from the future": lambda issuer: f"Bearer {issuer.token(iat=issuer.claims()['iat'] + 300)}",
    "without an end": lambda issuer: f"Bearer {issuer.token(exp=None)}",
    "for another audience": lambda issuer: f"Bearer {issuer.token(aud='api://other')}",
    "for no audience": lambda issuer: f"Bearer {issuer.token(aud=None)}",
    "of another issuer": lambda issuer: f"Bearer {issuer.token(iss='http://127.0.0.1:1')}",
    "of nobody": lambda issuer: f"Bearer {issuer.token(sub=None)}",
    "alg=none": lambda issuer: f"Bearer {issuer.by_hand('none')}",
    "HS256 with the public key": lambda issuer: f"Bearer {issuer.by_hand('HS256')}",
    "an unknown key": lambda issuer: f"Bearer {issuer.token(kid='unknown')}",
    "another key of that name": lambda issuer: f"Bearer {issuer.token(kid='first', key='second')}",
    "signed for other claims": lambda issuer: f"Bearer {mixed(issuer)}",
    "without its signature": lambda issuer: f"Bearer {issuer.token().rpartition('.')[0]}.",
    "of another type": lambda issuer: f"Bearer {issuer.token(typ='logout+jwt')}",
    "endless": lambda issuer: f"Bearer {issuer.token(more='x' * 20_000)}",
}


def tokens_for(page: Page) -> list[tuple[str, Callable[[Issuer], str | None]]]:
    """Every fourth invalid token, from one route to the next another four; when it is thorough, each."""
    step = tries(4, 1)
    return list(INVALID_TOKENS.items())[GUARDED.index(page) % step :: step]


def mixed(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return ".".join([header, issuer.token(sub="bob").split(".")[1], signature])


@pytest.fixture
async def http(guarded: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{guarded}", timeout=20) as http:
        yield http


@pytest.fixture
async def ana(gateway: JetStreamGateway, chat: Chat) -> AsyncIterator[dict[str, str]]:
    """A chat of ana's in which everything can be found that a page may be asked for: its ids."""
    first, second = question(chat.key, 1, "call-1", 0), question(chat.key, 1, "call-1", 1)
    await chat.append(
        STARTED,
        user_message(SECRET),
        SELECTED,
        question_asked(first),
        component_requested(second),
        ATTACHED,
    )
    stored = subjects.attachment_key(chat.key, ATTACHED.attachment_id)
    await (await gateway.js.object_store(subjects.ATTACHMENTS)).put(stored, SECRET.encode())
    value = LargeValue.of_json(SECRET)
    await gateway.values.put(chat.key, [value])
    general = Chat(gateway, ChatKey(chat.key.app, new_chat_id()), workflow=WorkflowName("General"))
    await general.append(STARTED, user_message(SECRET), SELECTED)
    summary = ChatSummary(
        chat_id=chat.key.chat,
        user_id=ANA,
        app_id=chat.key.app,
        workflow_name=WORKFLOW,
        status="waiting",
        title=TITLE,
        created_at=NOON,
        updated_at=NOON,
        last_seq=Seq(5),
    )
    summary_key = subjects.chat_summary_key(chat.key.app, ANA, chat.key.chat)
    await (await gateway.key_values.bucket(subjects.CHATS)).put(
        summary_key, summary.model_dump_json().encode()
    )
    ours = WorkflowCard(name=general.workflow, pattern="DefaultPattern", general=True)
    card = WorkflowCard(name=WORKFLOW, pattern="DefaultPattern", settable={"colour": []})
    await publish_cards(gateway, card, ours)
    ids = {
        "app_id": chat.key.app,
        "user_id": ANA,
        "chat_id": chat.key.chat,
        "other_id": chat.key.chat,
        "workflow_name": WORKFLOW,
        "input_request_id": first,
        "event_id": second,
        "question_id": first,
        "client_request_id": f"of {chat.key.chat}",
        "appId": chat.key.app,
        "userId": ANA,
        "chatId": chat.key.chat,
        "general_chat_id": general.key.chat,
        "attachment_id": ATTACHED.attachment_id,
        "digest": value.reference.digest,
        "file_path": stored,
    }
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        yield ids


@pytest.fixture
async def erased_app(gateway: JetStreamGateway) -> AsyncIterator[AppId]:
    """An app of this test alone, whose erasure was asked for."""
    app = AppId(f"app-{new_chat_id()}")
    asked = Erasure(app_id=app, requested_at=NOON)
    bucket = await gateway.key_values.bucket(subjects.ERASURES)
    await bucket.put(asked.key, asked.model_dump_json().encode())
    yield app
    await bucket.purge(asked.key)


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def command_count(gateway: JetStreamGateway, key: ChatKey) -> int:
    """How much was asked of a chat's orchestrator so far."""
    info = await gateway.js.stream_info(
        subjects.COMMANDS, subjects_filter=subjects.command(key, "*")
    )
    return sum((info.state.subjects or {}).values())


def reveals_nothing(reply: httpx.Response) -> bool:
    """Whether the response is an error, or says that nothing exists."""
    absent = reply.status_code == 200 and reply.json() == {"exists": False}
    return reply.status_code in (403, 404) or absent


def is_accepted(page: Page, reply: httpx.Response) -> bool:
    """Whether the response is that for who has access.

    Of a retry, an edit and a rewind the example names a last event that ana's chat does not have: only
    who may see the chat is told that it has changed.
    """
    if page.path.rpartition("/")[2] in ("retry", "edit", "rewind"):
        return reply.status_code == 409 and reply.json()["code"] == "CHAT_CHANGED"
    return reply.status_code in (200, 202)


def test_only_routes_that_a_page_needs_before_sign_in_are_open_to_everyone() -> None:
    assert sorted(str(page) for page in PAGES if page.open_to == "everyone") == [
        "GET /",
        "GET /answer/{token:str}",
        "GET /api/themes/{app_id:str}",
        "GET /api/workflows",
        "GET /api/workflows/config",
        "GET /schema",
        "GET /schema/assets/{name:str}",
        "GET /schema/docs",
        "POST /answer/{token:str}",
    ]


async def test_routes_open_to_everyone_need_no_token_and_ignore_an_invalid_one(
    http: httpx.AsyncClient, ana: dict[str, str]
) -> None:
    for page in PAGES:
        if page.open_to == "everyone" and "{token:" not in page.path:  # see test_answer_links
            for headers in ({}, bearing("x")):
                assert (await page.ask(http, ana, headers)).status_code == 200
    assert (await http.get("/console/icon.svg")).status_code == 200


@pytest.mark.parametrize("page", GUARDED, ids=str)
async def test_every_protected_route_rejects_invalid_tokens(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    chat: Chat,
    ana: dict[str, str],
    page: Page,
) -> None:
    for name, make in tokens_for(page):
        sent = make(issuer)
        reply = await page.ask(http, ana, {} if sent is None else {"authorization": sent})
        assert reply.status_code == 401, (name, reply.text)
        assert reply.json()["detail"].startswith("token: "), name
        assert reply.headers["www-authenticate"].startswith("Bearer"), name
        assert SECRET not in reply.text
    http.params = httpx.QueryParams(access_token=issuer.token(), ticket="x")
    assert (await page.ask(http, ana, {})).status_code == 401, "a token in an address is none"
    assert await command_count(gateway, chat.key) == 0


@pytest.mark.parametrize("page", OF_USERS, ids=str)
async def test_a_valid_token_has_access_to_its_own_data(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    chat: Chat,
    ana: dict[str, str],
    page: Page,
) -> None:
    reply = await page.ask(http, ana, bearing(issuer.token()))
    assert is_accepted(page, reply), reply.text
    await remove_commands(gateway, chat.key)  # else its question would be answered already
    service = issuer.token(sub="shop", scope="mozaiks.internal")
    again = await page.ask(http, ana, bearing(service))
    assert is_accepted(page, again), again.text


@pytest.mark.parametrize("page", OF_USERS, ids=str)
async def test_a_token_of_somebody_else_finds_nothing(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    chat: Chat,
    ana: dict[str, str],
    page: Page,
) -> None:
    strangers = {
        "another user": issuer.token(sub="bob"),
        "the same name in another app": issuer.token(app_id="other"),
        "a back end of another app": issuer.token(scope="mozaiks.internal", app_id="other"),
        "a token without an app": issuer.token(app_id=None),
        "a user without the scope": issuer.token(scope="openid"),
        "an operator": issuer.token(scope="mozaiks.operator"),
    }
    for name, token in strangers.items():
        reply = await page.ask(http, ana, bearing(token))
        assert SECRET not in reply.text, name
        assert TITLE not in reply.text, name
        if page.names_an_id:
            assert reveals_nothing(reply), (name, reply.text)
    assert await command_count(gateway, chat.key) == 0


@pytest.mark.parametrize("page", [page for page in OF_USERS if "{chat_id:" in page.path], ids=str)
async def test_a_chat_of_somebody_else_looks_as_if_it_did_not_exist(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    chat: Chat,
    ana: dict[str, str],
    page: Page,
) -> None:
    for stranger in ({"user_id": "bob"}, {"app_id": "other"}):
        token = issuer.token(
            sub=stranger.get("user_id", "ana"), app_id=stranger.get("app_id", "acme")
        )
        ids = {**ana, **stranger}
        existing = await page.ask(http, ids, bearing(token))
        missing = await page.ask(http, {**ids, "chat_id": "never-was"}, bearing(token))
        assert (existing.status_code, existing.text) == (missing.status_code, missing.text)
        assert reveals_nothing(existing)
    assert await command_count(gateway, chat.key) == 0


async def test_a_question_of_somebody_else_cannot_be_answered(
    http: httpx.AsyncClient,
    issuer: Issuer,
    gateway: JetStreamGateway,
    chat: Chat,
    ana: dict[str, str],
) -> None:
    submits = [page for page in OF_USERS if page.path.endswith("/submit")]
    assert len(submits) == 2
    for page in submits:
        made_up = {name: f"{ana[name]}x" for name in ("input_request_id", "event_id")}
        for token in (issuer.token(sub="bob"), issuer.token(app_id="other")):
            existing = await page.ask(http, ana, bearing(token))
            missing = await page.ask(http, made_up, bearing(token))
            assert existing.status_code == missing.status_code == 404
            assert existing.text == missing.text
        assert await command_count(gateway, chat.key) == 0
    for page in submits:
        assert (await page.ask(http, ana, bearing(issuer.token()))).status_code == 200
    assert await command_count(gateway, chat.key) == 2


@pytest.mark.usefixtures("ana")
async def test_other_spellings_of_an_id_do_not_bypass_the_check(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    bob = bearing(issuer.token(sub="bob"))
    for path in (
        "/api/sessions/list/acme/%61na",
        "/api/sessions/list/%61cme/ana",
        "/api/sessions/list/acme/bob?user_id=ana",
        "/api/chats/acme/Generator?user_id=bob&user_id=ana",
        "/api/chats/acme/Generator?user_id=ana&user_id=bob",
        "/api/sessions/list/acme//ana",
        "//api/sessions/list/acme/ana",
    ):
        reply = await http.get(f"{str(http.base_url).rstrip('/')}{path}", headers=bob)
        assert reply.status_code in (403, 404), (path, reply.text)
        assert TITLE not in reply.text
    mine = bearing(issuer.token())
    assert TITLE in (await http.get("/api/sessions/list/acme/ana", headers=mine)).text


async def test_raw_events_are_for_operators_only(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str]
) -> None:
    path = f"/api/chats/acme/{ana['chat_id']}/events?user_id=ana&wait=0&events=1"
    refused = await http.get(path, headers=bearing(issuer.token()))
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "token: scope is missing: this is open to operators only",
    )
    operator = issuer.token(scope="access_as_user mozaiks.operator")
    reply = await http.get(path, headers=bearing(operator))
    assert "chat.event" in {frame["type"] for frame in reply.json()["frames"]}
    not_hers = issuer.token(scope="access_as_user mozaiks.operator", sub="bob")
    assert (await http.get(path, headers=bearing(not_hers))).status_code == 403


def expected_of(page: Page) -> Collection[int]:
    """How an operator is answered here, where no other service runs and no letter is dead."""
    if page.path.startswith("/metrics") or page.path.endswith(ASKED_OF_ORCHESTRATORS):
        return (503,)
    return (404,) if page.path.startswith("/api/dead-letters/") else (200, 202)


@pytest.mark.parametrize("page", OF_OPERATORS, ids=str)
async def test_operator_routes_need_the_operator_scope(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str], page: Page
) -> None:
    for scope in ("access_as_user", "mozaiks.internal", "openid"):
        reply = await page.ask(http, ana, bearing(issuer.token(scope=scope)))
        assert reply.status_code == 403, reply.text
    if page.names_an_app:
        return
    operator = issuer.token(sub="olga", scope="mozaiks.operator", app_id=None)
    reply = await page.ask(http, ana, bearing(operator))
    assert reply.status_code in expected_of(page), reply.text


@pytest.mark.parametrize("page", [page for page in OF_OPERATORS if page.names_an_app], ids=str)
async def test_operator_routes_of_an_app_are_for_operators_whose_token_names_it(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str], erased_app: AppId, page: Page
) -> None:
    # What changes a whole app is asked for one that no other test uses.
    app = ana["app_id"] if "{chat_id:" in page.path else erased_app
    ids = {**ana, "app_id": app}
    for named in (None, "other"):
        operator = issuer.token(sub="olga", scope="mozaiks.operator", app_id=named)
        refused = await page.ask(http, ids, bearing(operator))
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "app_id: not an app of this token",
        )
    operator = issuer.token(sub="olga", scope="mozaiks.operator", app_id=app)
    reply = await page.ask(http, ids, bearing(operator))
    assert SECRET not in reply.text
    if page.names_a_user:  # what was said is for operators in chats of their own only
        assert reply.status_code == 403
        operator = issuer.token(scope="access_as_user mozaiks.operator", app_id=app)
        reply = await page.ask(http, ids, bearing(operator))
    assert reply.status_code in expected_of(page), reply.text
    assert TITLE not in reply.text


async def test_an_operator_learns_of_a_chat_only_what_explains_it(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str]
) -> None:
    operator = bearing(issuer.token(sub="olga", scope="mozaiks.operator"))
    path = f"/api/chats/acme/{ana['chat_id']}"
    explained = await http.get(f"{path}/explain", headers=operator)
    assert explained.json()["account"]["user_id"] == ANA
    missing = await http.get("/api/chats/acme/never-was/explain", headers=operator)
    assert (missing.status_code, missing.json()["detail"]) == (404, "chat_id: no such chat")
    assert (await http.get(f"{path}/events?user_id=ana", headers=operator)).status_code == 403


@pytest.mark.parametrize("page", OF_ADMINISTRATORS, ids=str)
async def test_administrator_routes_are_for_the_back_end_of_the_app_and_the_operator(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str], page: Page
) -> None:
    accepted = [("mozaiks.internal", "acme"), ("mozaiks.operator", "acme")]
    rejected: list[tuple[str, str | None]] = [
        ("access_as_user", "acme"),
        ("openid", "acme"),
        ("mozaiks.internal", "other"),
    ]
    rejected += [("mozaiks.operator", "other"), ("mozaiks.operator", None)]
    for status, tokens in ((200, accepted), (403, rejected)):
        for scope, app in tokens:
            reply = await page.ask(http, ana, bearing(issuer.token(scope=scope, app_id=app)))
            assert reply.status_code == status, (scope, app, reply.text)


async def test_me_describes_the_identity_of_the_token(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    me = (await http.get("/api/me", headers=bearing(issuer.token()))).json()
    assert (me["user_id"], me["app_ids"], me["scopes"]) == ("ana", ["acme"], ["user"])


async def test_after_key_rotation_new_tokens_are_accepted_and_old_ones_are_not(
    own_guarded: str, own_issuer: Issuer
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{own_guarded}", timeout=20) as http:
        old = bearing(own_issuer.token())
        assert (await http.get("/api/me", headers=old)).status_code == 200
        own_issuer.kids = ["second"]
        new = bearing(own_issuer.token())
        assert (await http.get("/api/me", headers=new)).status_code == 200
        assert (await http.get("/api/me", headers=old)).status_code == 401


async def test_tokens_stay_valid_while_the_issuer_is_down(
    own_guarded: str, own_issuer: Issuer
) -> None:
    async with httpx.AsyncClient(base_url=f"http://{own_guarded}", timeout=20) as http:
        own_issuer.away = True
        unknown = await http.get("/api/me", headers=bearing(own_issuer.token()))
        assert (unknown.status_code, unknown.json()["detail"][:7]) == (503, "token: ")
        own_issuer.away = False
        assert (await http.get("/api/me", headers=bearing(own_issuer.token()))).status_code == 200
        own_issuer.away = True
        assert (await http.get("/api/me", headers=bearing(own_issuer.token()))).status_code == 200

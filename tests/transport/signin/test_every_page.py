"""Every page there is, asked without a token, with a bad one, and with somebody else's."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler

from contracts import subjects
from contracts.catalogue import ChatSummary, WorkflowCard
from contracts.events.chat import AttachmentUploaded
from contracts.ids import ChatKey, Seq, WorkflowName, new_chat_id
from contracts.subjects import question
from services.chassis.bus import Bus
from services.transport import routes
from services.transport.openapi import EXAMPLES, Told
from services.transport.signin.principal import OPEN_TO
from tests.transport.signin.issuer import Issuer
from tests.transport.story import (
    ANA,
    NOON,
    SELECTED,
    STARTED,
    WORKFLOW,
    Chat,
    asks,
    offer,
    said,
    shows,
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


@dataclass(frozen=True)
class Page:
    """One address of one handler."""

    handler: HTTPRouteHandler
    method: str
    path: str

    @property
    def open_to(self) -> str:
        return str(self.handler.opt.get(OPEN_TO, "users"))

    @property
    def told(self) -> Told:
        told = self.handler.opt.get("told")
        return told if isinstance(told, Told) else Told("")

    @property
    def is_about_somebody(self) -> bool:
        """Whether it takes an id of an app, a chat, a user or a question, wherever it takes it."""
        in_query = any(one.required for one in self.told.query)
        return in_query or self.told.said is not None or "_id:" in self.path

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    async def ask(
        self, http: httpx.AsyncClient, named: dict[str, str], headers: dict[str, str]
    ) -> httpx.Response:
        """Ask for it with these ids wherever it takes an id: in the path, the query, the body."""

        def of(found: re.Match[str]) -> str:
            return quote(named.get(found[1], EXAMPLES.get(found[1], "")), safe="")

        own, said_ = self.told, {}
        if own.said is not None:
            said_ = {name: named.get(name, value) for name, value in own.said.items()}
        sent: dict[str, Any] = {"json": said_ if own.said is not None else None}
        if own.sent_as == "multipart/form-data":
            file = ("prices.csv", str(said_.pop("file")).encode(), "text/csv")
            sent = {"data": said_, "files": {"file": file}}
        query = {one.name: named.get(one.name, one.example) for one in own.query if one.required}
        query |= {"wait": "0"} if any(one.name == "wait" for one in own.query) else {}
        path = re.sub(r"{(\w+):\w+}", of, self.path)
        return await http.request(self.method, path, params=query, headers=headers, **sent)


PAGES = [
    Page(handler, str(method), path)
    for handler in routes.HANDLERS
    for path in sorted(handler.paths)
    for method in sorted(handler.http_methods)
]
GUARDED = [page for page in PAGES if page.open_to != "everyone"]
OF_USERS = [page for page in PAGES if page.open_to == "users"]
OF_OPERATORS = [page for page in PAGES if page.open_to == "operators"]

BAD: dict[str, Callable[[Issuer], str | None]] = {
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
    "endless": lambda issuer: f"Bearer {issuer.token(more='x' * 20_000)}",
}


def mixed(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return ".".join([header, issuer.token(sub="bob").split(".")[1], signature])


@pytest.fixture
async def http(guarded: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{guarded}", timeout=20) as http:
        yield http


@pytest.fixture
async def ana(bus: Bus, chat: Chat) -> dict[str, str]:
    """A chat of ana's in which everything can be found that a page may be asked for: its ids."""
    first, second = question(chat.key, 1, "call-1", 0), question(chat.key, 1, "call-1", 1)
    await chat.append(STARTED, said(SECRET), SELECTED, asks(first), shows(second), ATTACHED)
    stored = subjects.attachment_key(chat.key, ATTACHED.attachment_id)
    await (await bus.js.object_store(subjects.ATTACHMENTS)).put(stored, SECRET.encode())
    general = Chat(bus, ChatKey(chat.key.app, new_chat_id()), workflow=WorkflowName("General"))
    await general.append(STARTED, said(SECRET), SELECTED)
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
    found = subjects.chat_summary_key(chat.key.app, ANA, chat.key.chat)
    await (await bus.bucket(subjects.CHATS)).put(found, summary.model_dump_json().encode())
    ours = WorkflowCard(name=general.workflow, pattern="DefaultPattern", general=True)
    await offer(bus, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"), ours)
    return {
        "app_id": chat.key.app,
        "user_id": ANA,
        "chat_id": chat.key.chat,
        "workflow_name": WORKFLOW,
        "input_request_id": first,
        "event_id": second,
        "client_request_id": f"of {chat.key.chat}",
        "appId": chat.key.app,
        "userId": ANA,
        "chatId": chat.key.chat,
        "general_chat_id": general.key.chat,
        "attachment_id": ATTACHED.attachment_id,
        "file_path": stored,
    }


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def orders(bus: Bus, key: ChatKey) -> int:
    """How much was asked of a chat's orchestrator so far."""
    info = await bus.js.stream_info(subjects.COMMANDS, subjects_filter=subjects.command(key, "*"))
    return sum((info.state.subjects or {}).values())


def tells_nothing(reply: httpx.Response) -> bool:
    """It is refused, or says that there is nothing."""
    absent = reply.status_code == 200 and reply.json() == {"exists": False}
    return reply.status_code in (403, 404) or absent


def test_only_what_a_page_needs_before_sign_in_is_open_to_everyone() -> None:
    assert sorted(str(page) for page in PAGES if page.open_to == "everyone") == [
        "GET /",
        "GET /api/themes/{app_id:str}",
        "GET /api/workflows",
        "GET /api/workflows/config",
        "GET /schema",
    ]


async def test_open_pages_need_no_token_and_mind_no_bad_one(
    http: httpx.AsyncClient, ana: dict[str, str]
) -> None:
    for page in PAGES:
        if page.open_to == "everyone":
            for headers in ({}, bearing("x")):
                assert (await page.ask(http, ana, headers)).status_code == 200
    assert (await http.get("/console/app.js")).status_code == 200


@pytest.mark.parametrize("page", GUARDED, ids=str)
async def test_no_page_is_shown_for_a_token_that_is_not_good(
    http: httpx.AsyncClient, issuer: Issuer, bus: Bus, chat: Chat, ana: dict[str, str], page: Page
) -> None:
    for name, made in BAD.items():
        sent = made(issuer)
        reply = await page.ask(http, ana, {} if sent is None else {"authorization": sent})
        assert reply.status_code == 401, (name, reply.text)
        assert reply.json()["detail"].startswith("token: "), name
        assert reply.headers["www-authenticate"].startswith("Bearer"), name
        assert SECRET not in reply.text
    http.params = httpx.QueryParams(access_token=issuer.token(), ticket="x")
    assert (await page.ask(http, ana, {})).status_code == 401, "a token in an address is none"
    assert await orders(bus, chat.key) == 0


@pytest.mark.parametrize("page", OF_USERS, ids=str)
async def test_a_good_token_is_let_in_to_what_is_its_own(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str], page: Page
) -> None:
    reply = await page.ask(http, ana, bearing(issuer.token()))
    assert reply.status_code in (200, 202), reply.text
    service = issuer.token(sub="shop", scope="mozaiks.internal")
    again = await page.ask(http, ana, bearing(service))
    assert again.status_code in (200, 202), again.text


@pytest.mark.parametrize("page", OF_USERS, ids=str)
async def test_nobody_elses_token_finds_anything(
    http: httpx.AsyncClient, issuer: Issuer, bus: Bus, chat: Chat, ana: dict[str, str], page: Page
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
        if page.is_about_somebody:
            assert tells_nothing(reply), (name, reply.text)
    assert await orders(bus, chat.key) == 0


@pytest.mark.parametrize("page", [page for page in OF_USERS if "{chat_id:" in page.path], ids=str)
async def test_a_chat_of_somebody_else_is_as_absent_as_one_that_never_was(
    http: httpx.AsyncClient, issuer: Issuer, bus: Bus, chat: Chat, ana: dict[str, str], page: Page
) -> None:
    for stranger in ({"user_id": "bob"}, {"app_id": "other"}):
        token = issuer.token(
            sub=stranger.get("user_id", "ana"), app_id=stranger.get("app_id", "acme")
        )
        own = {**ana, **stranger}
        theirs = await page.ask(http, own, bearing(token))
        nobodys = await page.ask(http, {**own, "chat_id": "never-was"}, bearing(token))
        assert (theirs.status_code, theirs.text) == (nobodys.status_code, nobodys.text)
        assert tells_nothing(theirs)
    assert await orders(bus, chat.key) == 0


async def test_a_question_of_somebody_else_is_answered_by_nobody_but_them(
    http: httpx.AsyncClient, issuer: Issuer, bus: Bus, chat: Chat, ana: dict[str, str]
) -> None:
    submits = [page for page in OF_USERS if page.path.endswith("/submit")]
    assert len(submits) == 2
    for page in submits:
        made_up = {name: f"{ana[name]}x" for name in ("input_request_id", "event_id")}
        for token in (issuer.token(sub="bob"), issuer.token(app_id="other")):
            theirs = await page.ask(http, ana, bearing(token))
            nobodys = await page.ask(http, made_up, bearing(token))
            assert theirs.status_code == nobodys.status_code == 404
            assert theirs.text == nobodys.text
        assert await orders(bus, chat.key) == 0
    for page in submits:
        assert (await page.ask(http, ana, bearing(issuer.token()))).status_code == 200
    assert await orders(bus, chat.key) == 2


@pytest.mark.usefixtures("ana")
async def test_ids_that_are_spelt_otherwise_are_the_same_ids(
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


async def test_whole_events_hold_prompts_and_are_shown_to_operators_only(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str]
) -> None:
    path = f"/api/chats/acme/{ana['chat_id']}/events?user_id=ana&wait=0&events=1"
    refused = await http.get(path, headers=bearing(issuer.token()))
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "token: this is open to operators only",
    )
    operator = issuer.token(scope="access_as_user mozaiks.operator")
    shown = await http.get(path, headers=bearing(operator))
    assert "chat.event" in {frame["type"] for frame in shown.json()["frames"]}
    not_hers = issuer.token(scope="access_as_user mozaiks.operator", sub="bob")
    assert (await http.get(path, headers=bearing(not_hers))).status_code == 403


@pytest.mark.parametrize("page", OF_OPERATORS, ids=str)
async def test_pages_about_the_house_are_for_those_who_run_it(
    http: httpx.AsyncClient, issuer: Issuer, ana: dict[str, str], page: Page
) -> None:
    for scope in ("access_as_user", "mozaiks.internal", "openid"):
        reply = await page.ask(http, ana, bearing(issuer.token(scope=scope)))
        assert reply.status_code == 403, reply.text
    operator = issuer.token(scope="mozaiks.operator", app_id=None)
    reply = await page.ask(http, ana, bearing(operator))
    # The numbers are told by another service, whose address this transport was not told.
    assert reply.status_code == (404 if "/metrics/perf" in page.path else 200) or (
        page.path == "/metrics/prometheus"
    )


async def test_a_token_says_whom_it_speaks_for(http: httpx.AsyncClient, issuer: Issuer) -> None:
    told = (await http.get("/api/me", headers=bearing(issuer.token()))).json()
    assert (told["user_id"], told["app_ids"], told["scopes"]) == ("ana", ["acme"], ["user"])


async def test_a_key_that_the_issuer_changes_is_taken_up_and_the_old_one_let_go(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    old = bearing(issuer.token())
    assert (await http.get("/api/me", headers=old)).status_code == 200
    issuer.kids = ["second"]
    new = bearing(issuer.token())
    assert (await http.get("/api/me", headers=new)).status_code == 200
    assert (await http.get("/api/me", headers=old)).status_code == 401


async def test_while_the_issuer_is_away_its_keys_go_on_to_count(
    http: httpx.AsyncClient, issuer: Issuer
) -> None:
    issuer.away = True
    unknown = await http.get("/api/me", headers=bearing(issuer.token()))
    assert (unknown.status_code, unknown.json()["detail"][:7]) == (503, "token: ")
    issuer.away = False
    assert (await http.get("/api/me", headers=bearing(issuer.token()))).status_code == 200
    issuer.away = True
    assert (await http.get("/api/me", headers=bearing(issuer.token()))).status_code == 200

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from contracts import subjects
from contracts.cache_seed import cache_seed
from contracts.catalogue import ChatSummary, ToolCard, WorkflowCard
from contracts.commands import CancelChat, StartChat, StopAnswer
from contracts.ids import AgentName, AppId, ChatId, ChatKey, Seq, WorkflowName, new_command_id
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats.catalogue import not_loaded
from tests.transport.conftest import Open
from tests.transport.story import (
    ANA,
    COMPLETED,
    LOGGED,
    NOON,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    client,
    component_requested,
    last_command,
    publish_cards,
    question_asked,
    remove_commands,
)

pytestmark = pytest.mark.broker

PLANNER, DRAWER = AgentName("Planner"), AgentName("Drawer")
TOOLS = [
    ToolCard(name="look", description="Look.", agents=[PLANNER, DRAWER]),
    ToolCard(name="draw", agents=[DRAWER], component="Drawing", mode="artifact"),
    ToolCard(name="pick", agents=[PLANNER, DRAWER], component="Picker", mode="inline"),
]
CARD = WorkflowCard(
    name=WORKFLOW,
    pattern="DefaultPattern",
    demo=True,
    agents=[PLANNER, DRAWER],
    model="demo",
    tools=TOOLS,
    outputs={PLANNER: "Plan"},
)
BROKEN = WorkflowCard(name=WorkflowName("Torn"), problems=["agents.json: is not JSON"])


@pytest.fixture
async def http(transport: str, gateway: JetStreamGateway) -> AsyncIterator[httpx.AsyncClient]:
    await publish_cards(gateway, CARD, BROKEN)
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


async def test_only_loaded_workflows_are_listed(http: httpx.AsyncClient) -> None:
    cards = (await http.get("/api/workflows")).json()
    assert set(cards) == {WORKFLOW}
    assert cards[WORKFLOW]["orchestration_pattern"] == "DefaultPattern"
    assert cards[WORKFLOW]["workflow_name"] == WORKFLOW
    troubles = (await http.get("/api/workflows/diagnostics")).json()
    assert troubles == {"Torn": ["agents.json: is not JSON"]}


async def test_a_workflow_whose_newest_edit_is_broken_is_listed_and_only_diagnostics_say_why(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    problems = ["agents.json: is not JSON"]
    torn = BROKEN.model_copy(
        update={"name": "Patched", "agents": ["Clerk"], "problems": problems, "warnings": ["hm"]}
    )
    offered = await gateway.key_values.bucket(subjects.WORKFLOWS)
    key = subjects.workflow_key(WorkflowName("Patched"))
    await offered.put(key, torn.model_dump_json().encode())
    try:
        told = (await http.get("/api/workflows")).json()["Patched"]
        assert not {"problems", "warnings"} & told.keys()
        listed = (await http.get("/api/workflows/acme/available?user_id=ana")).json()["workflows"]
        (one,) = [each for each in listed if each["workflow_name"] == "Patched"]
        assert (one["available"], one["reason"]) == (True, None)
        assert (await http.get("/api/workflows/diagnostics")).json()["Patched"] == problems
        assert (await http.get("/api/workflows/Patched/transport")).status_code == 200
    finally:
        await offered.delete(key)


async def test_workflow_routes_answer_what_a_page_needs(http: httpx.AsyncClient) -> None:
    everything, again = [await http.get(f"/api/workflows{end}") for end in ("", "/config")]
    assert everything.json() == again.json()
    config = everything.json()[WORKFLOW]
    assert config["structured_outputs"] == {"registry": {"Planner": "Plan"}}
    assert list(config["tools"]) == ["look", "draw", "pick"]
    assert set(config["ui_tools"]) == {"draw", "pick"}
    assert config["inline_component_agents"] == ["Planner", "Drawer"]
    assert config["artifact_component_agents"] == ["Drawer"]
    tools = (await http.get("/api/workflows/Generator/tools")).json()["tools"]
    assert tools == [{**tool.model_dump(mode="json"), "workflow": WORKFLOW} for tool in TOOLS]
    counted = (await http.get("/api/workflows/Generator/ui-tools")).json()
    assert counted["ui_tools_count"] == 3
    answer = {(one["ui_tool_id"], one["agent"], one["mode"]) for one in counted["ui_tools"]}
    assert answer == {
        ("draw", "Drawer", "artifact"),
        ("pick", "Planner", "inline"),
        ("pick", "Drawer", "inline"),
    }
    offered = (await http.get("/api/workflows/acme/available?user_id=ana")).json()["workflows"]
    assert [(one["workflow_name"], one["available"], one["reason"]) for one in offered] == [
        ("Generator", True, None),
        ("Torn", False, not_loaded("Torn")),
    ]


async def test_every_app_has_a_theme_with_all_that_chat_ui_styles(http: httpx.AsyncClient) -> None:
    told = (await http.get("/api/themes/acme")).json()
    assert (told["app_id"], told["source"]) == ("acme", "default")
    assert set(told["theme"]) == {"branding", "fonts", "colors", "shadows"}


async def test_the_transport_counts_each_event_once(open_transport: Open, chat: Chat) -> None:
    address = await open_transport()
    await chat.append(STARTED)
    viewers = [await client(f"{address}{chat.path()}?after=0") for _ in range(2)]
    for viewer in viewers:
        await viewer.until("chat.resume_boundary")
    await chat.append(LOGGED, SELECTED)
    for viewer in viewers:
        await viewer.until("chat.select_speaker")
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        told = (await http.get("/api/events/metrics")).json()
    assert told["status"] == "success"
    assert told["data"]["events_by_category"] == {"business": 1, "runtime": 1, "ui_tool": 0}
    assert (told["data"]["events_processed"], told["data"]["handler_count"]) == (2, 1)
    for viewer in viewers:
        await viewer.close()


async def test_active_runs_are_the_commands_in_the_queue(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    before = (await http.get("/health/active-runs")).json()
    command = CancelChat(
        command_id=new_command_id(), app_id=chat.key.app, chat_id=chat.key.chat, user_id=ANA
    )
    await gateway.commands.send(command)
    during = (await http.get("/health/active-runs")).json()
    await remove_commands(gateway, chat.key)
    after = (await http.get("/health/active-runs")).json()
    assert during["active_count"] == before["active_count"] + 1
    assert (after["active_count"], after["runs"]) == (before["active_count"], [])


async def test_a_start_sends_a_command_and_is_answered_with_202(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    reply = await http.post("/api/chats/acme/Generator/start", json={"user_id": "ana"})
    body = reply.json()
    assert reply.status_code == 202  # there is no orchestrator here
    assert body["websocket_url"] == f"/ws/Generator/acme/{body['chat_id']}/ana"
    assert body["cache_seed"] == cache_seed("acme", body["chat_id"])
    key = ChatKey(AppId("acme"), ChatId(body["chat_id"]))
    found = await gateway.js.get_last_msg(subjects.COMMANDS, subjects.command(key, "start_chat"))
    command = StartChat.model_validate_json(found.data or b"")
    assert (command.command_id, command.user_id) == (f"start-{key.chat}", "ana")


async def test_starts_with_the_same_request_id_are_one_chat_also_in_parallel(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    request = {"user_id": "ana", "client_request_id": "from two tabs"}
    url = "/api/chats/acme/Generator/start"
    before = await gateway.js.stream_info(subjects.COMMANDS)
    replies = await asyncio.gather(*(http.post(url, json=request) for _ in range(4)))
    (chat_id,) = {reply.json()["chat_id"] for reply in replies}
    after = await gateway.js.stream_info(subjects.COMMANDS)
    assert after.state.messages - before.state.messages == 1
    await Chat(gateway, ChatKey(AppId("acme"), ChatId(chat_id))).append(STARTED)
    again = await http.post(url, json=request)
    assert (again.status_code, again.json()["reused"]) == (200, True)
    assert again.json()["chat_id"] == chat_id


async def test_a_start_returns_once_the_chat_has_started(
    open_transport: Open, http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    address = await open_transport(start_wait_seconds=15)
    request = {"user_id": "ana", "client_request_id": "r-2"}
    url = "/api/chats/acme/Generator/start"
    first = (await http.post(url, json=request)).json()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as patient:
        waiting = asyncio.create_task(patient.post(url, json=request))
        await asyncio.sleep(0.05)
        await Chat(gateway, ChatKey(AppId("acme"), ChatId(first["chat_id"]))).append(STARTED)
        assert (await waiting).status_code == 200


async def test_a_chat_is_found_by_its_own_workflow_only(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED, COMPLETED)
    path = f"{chat.key.app}/Generator/{chat.key.chat}"
    other = f"{chat.key.app}/Other/{chat.key.chat}"
    assert (await http.get(f"/api/chats/exists/{path}")).json() == {"exists": True}
    assert (await http.get(f"/api/chats/exists/{other}")).json() == {"exists": False}
    assert (await http.get(f"/api/chats/meta/{other}")).json() == {"exists": False}
    meta = (await http.get(f"/api/chats/meta/{path}")).json()
    assert (meta["status"], meta["last_sequence"], meta["cache_seed"]) == (1, 2, 7)


async def test_the_meta_of_a_chat_has_the_artifact_that_is_open(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    form = question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, component_requested(form, "artifact"))
    path = f"/api/chats/meta/{chat.key.app}/Generator/{chat.key.chat}"
    meta = (await http.get(path)).json()
    assert meta["artifact_instance_id"] == form
    assert meta["last_artifact"]["event_id"] == form
    assert meta["last_artifact"]["payload"]["display"] == "artifact"
    assert meta["last_artifact"]["updated_at"].endswith("+00:00")


async def test_a_users_chats_are_listed_newest_first(
    http: httpx.AsyncClient, gateway: JetStreamGateway
) -> None:
    kept, app = await gateway.key_values.bucket(subjects.CHATS), AppId("acme.corp")
    for number in (1, 2):
        summary = ChatSummary(
            app_id=app,
            chat_id=ChatId(f"c-{number}"),
            user_id=ANA,
            workflow_name=WORKFLOW,
            status="running",
            created_at=NOON,
            updated_at=NOON.replace(minute=number),
            last_seq=Seq(number),
        )
        key = subjects.chat_summary_key(app, ANA, summary.chat_id)
        await kept.put(key, summary.model_dump_json().encode())
    listed = (await http.get("/api/sessions/list/acme.corp/ana")).json()
    assert [one["chat_id"] for one in listed["sessions"]] == ["c-2", "c-1"]
    assert listed["count"] == 2
    mine = await http.get("/api/chats/acme.corp/Generator", params={"user_id": "ana"})
    assert mine.json() == {"chat_ids": ["c-2", "c-1"]}
    one = await http.get("/api/chats/acme.corp/Generator?user_id=ana&limit=1")
    assert one.json() == {"chat_ids": ["c-2"]}
    recent = (await http.get("/api/sessions/recent/acme.corp/ana")).json()
    assert (recent["found"], recent["chat_id"]) == (True, "c-2")
    assert (await http.get("/api/sessions/recent/acme.corp/bob")).json() == {"found": False}
    nobody = await http.get("/api/sessions/list/acme.corp/bob")
    assert nobody.json() == {"sessions": [], "count": 0}


async def test_answers_are_accepted_while_the_question_is_open(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    words, form = (question(chat.key, 1, call, 0) for call in ("call-1", "call-2"))
    await chat.append(STARTED, question_asked(words), component_requested(form))
    told = {"input_request_id": words, "user_input": "red"}
    assert (await http.post("/api/user-input/submit", json=told)).json()["status"] == "success"
    answer = {"event_id": form, "response_data": {"colour": "red"}}
    assert (await http.post("/api/ui-tool/submit", json=answer)).json()["status"] == "success"
    swapped = {"input_request_id": form, "user_input": "red"}
    assert (await http.post("/api/user-input/submit", json=swapped)).status_code == 404
    await chat.append(COMPLETED)
    late = await http.post("/api/user-input/submit", json=told)
    assert late.status_code == 404
    assert late.json()["detail"].startswith("input_request_id: ")


async def test_a_chat_is_cancelled_by_its_user_until_it_has_ended(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    url = f"/api/chats/{chat.key.app}/{chat.key.chat}/cancel"
    assert (await http.post(url, json={"user_id": "bob"})).status_code == 404
    assert (await http.post(url, json={"user_id": "ana"})).json() == {"status": "accepted"}
    await chat.append(COMPLETED)
    assert (await http.post(url, json={"user_id": "ana"})).status_code == 409


async def test_a_stop_is_asked_for_while_an_answer_runs_as_often_as_one_likes(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    url = f"/api/chats/{chat.key.app}/{chat.key.chat}/stop"
    await chat.append(STARTED)
    assert (await http.post(url, json={"user_id": "bob"})).status_code == 404
    assert (await http.post(url, json={"user_id": "ana"})).json() == {"status": "not_running"}
    await chat.append(SELECTED)
    for _ in range(2):
        assert (await http.post(url, json={"user_id": "ana"})).json() == {"status": "accepted"}
    command = await last_command(gateway, chat.key)
    assert isinstance(command, StopAnswer)
    assert command.turn == 1
    for last in (YOUR_TURN, COMPLETED):
        await chat.append(last)
        assert (await http.post(url, json={"user_id": "ana"})).json() == {"status": "not_running"}
    assert (await http.post(url, json={"user_id": "ana", "turn": 0})).status_code == 400


async def test_a_message_is_accepted_at_once(http: httpx.AsyncClient, chat: Chat) -> None:
    await chat.append(STARTED)
    url = f"/chat/{chat.key.app}/{chat.key.chat}/ana/input"
    reply = await http.post(url, json={"message": "hi"})
    assert reply.json() == {"status": "accepted", "transport": None}


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "field"),
    [
        ("POST", "/api/chats/acme/Nope/start", '{"user_id":"ana"}', 404, "workflow_name"),
        ("POST", "/api/chats/acme/Torn/start", '{"user_id":"ana"}', 409, "workflow_name"),
        ("POST", "/api/chats/acme/Generator/start", "{", 400, "body"),
        ("POST", "/api/chats/acme/Generator/start", "", 400, "body"),
        ("POST", "/api/chats/acme/Generator/start", "[" * 100_000, 400, "body"),
        ("POST", "/api/chats/acme/Generator/start", '{"user_id":"\\ud800"}', 400, "body"),
        (
            "POST",
            "/api/chats/acme/Generator/start",
            '{"user_id":"ana","frontend_context":{"n":NaN}}',
            400,
            "frontend_context.n",
        ),
        (
            "POST",
            "/api/chats/acme/Generator/start",
            f'{{"user_id":"ana","frontend_context":{{"n":{2**53}}}}}',
            400,
            "frontend_context.n",
        ),
        ("POST", "/api/chats/acme/Generator/start", "{}", 400, "user_id"),
        ("POST", "/api/chats/acme/Generator/start", '{"user_id":""}', 400, "user_id"),
        (
            "POST",
            "/api/chats/acme/Generator/start",
            f'{{"user_id":"{"u" * 200}"}}',
            400,
            "user_id",
        ),
        (
            "POST",
            "/api/chats/acme/Generator/start",
            f'{{"user_id":"ana","message":"{"x" * 300_000}"}}',
            413,
            "body",
        ),
        ("POST", f"/api/chats/{'a' * 200}/Generator/start", '{"user_id":"ana"}', 400, "app_id"),
        ("POST", "/api/chats/%ff/Generator/start", '{"user_id":"ana"}', 400, "app_id"),
        ("GET", f"/api/chats/exists/acme/Generator/{'c' * 200}", "", 400, "chat_id"),
        ("GET", "/api/chats/acme/Generator", "", 400, "user_id"),
        ("GET", "/api/chats/acme/Generator?user_id=ana&limit=0", "", 400, "limit"),
        ("GET", "/api/chats/acme/Generator?user_id=ana&limit=x", "", 400, "limit"),
        ("GET", "/api/workflows/acme/available", "", 400, "user_id"),
        ("GET", "/api/workflows/Nope/tools", "", 404, "workflow_name"),
        ("GET", "/api/workflows/Torn/ui-tools", "", 409, "workflow_name"),
        ("GET", f"/api/themes/{'a' * 200}", "", 400, "app_id"),
        (
            "POST",
            "/api/user-input/submit",
            '{"input_request_id":"q","user_input":"x"}',
            404,
            "input_request_id",
        ),
        (
            "POST",
            "/api/user-input/submit",
            '{"input_request_id":"a.b.1.0.c","user_input":"x"}',
            404,
            "input_request_id",
        ),
        ("POST", "/api/ui-tool/submit", '{"event_id":"q","response_data":{}}', 404, "event_id"),
        ("POST", "/api/chats/acme/none/cancel", '{"user_id":"ana"}', 404, "chat_id"),
        ("POST", "/chat/acme/none/ana/input", '{"message":"x"}', 404, "chat_id"),
        ("GET", "/metrics/perf/chats/%ff", "", 400, "chat_id"),
        ("GET", "/no/such/page", "", 404, ""),
        ("DELETE", "/api/workflows", "", 405, ""),
    ],
)
async def test_bad_input_is_rejected_by_its_field(
    http: httpx.AsyncClient, method: str, path: str, content: str, status: int, field: str
) -> None:
    reply = await http.request(method, path, content=content)
    assert reply.status_code == status
    body: dict[str, Any] = reply.json()
    assert set(body) == {"detail"}
    assert body["detail"].startswith(f"{field}: " if field else "")


@pytest.mark.parametrize(
    "name", ["acme.corp", "two words", "a/b", "*", ">", "münchen", "%2F", "a?b#c", "=x"]
)
async def test_any_id_works_in_a_path(transport: str, gateway: JetStreamGateway, name: str) -> None:
    offered, workflow = await gateway.key_values.bucket(subjects.WORKFLOWS), WorkflowName(name)
    card = CARD.model_copy(update={"name": workflow})
    await offered.put(subjects.workflow_key(workflow), card.model_dump_json().encode())
    part = quote(name, safe="")
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        reply = await http.post(f"/api/chats/{part}/{part}/start", json={"user_id": name})
        started = reply.json()
        key = ChatKey(AppId(name), ChatId(started["chat_id"]))
        await Chat(gateway, key, workflow=workflow).append(
            STARTED.model_copy(update={"user_id": name})
        )
        found = await http.get(f"/api/chats/exists/{part}/{part}/{key.chat}")
        assert found.json() == {"exists": True}
    viewer = await client(f"{transport}{started['websocket_url']}?after=0")
    meta = await viewer.next()
    assert (meta["app_id"], meta["user_id"], meta["workflow_name"]) == (name, name, name)
    await viewer.close()
    await offered.delete(subjects.workflow_key(workflow))


async def test_the_console_and_the_health_pages_are_served(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"][:9]) == (200, "text/html")
    (script,) = re.findall(r'src="(/console/assets/[^"]+)"', page.text)
    asset = await http.get(script)
    assert "javascript" in asset.headers["content-type"]
    assert "immutable" in asset.headers["cache-control"]
    assert (await http.get("/console/../app.py")).status_code == 404
    assert (await http.get("/console/%2e%2e/app.py")).status_code == 404
    health = (await http.get("/api/health")).json()
    assert (health["status"], health["workflows"]) == ("healthy", [WORKFLOW])
    assert (health["total_tools"], health["tools_available"]) == (3, True)
    assert health["transport_groups"] == {"websocket": [WORKFLOW]}
    assert 0 <= health["nats_ping_ms"] <= health["health_check_time_ms"]
    assert (await http.get("/ready")).json()["ready"] is True


async def test_a_page_of_another_origin_is_allowed_only_where_it_is_configured(
    http: httpx.AsyncClient, open_transport: Open
) -> None:
    origin = {"origin": "http://localhost:3000"}
    closed = await http.get("/api/workflows", headers=origin)
    assert "access-control-allow-origin" not in closed.headers
    address = await open_transport(cors_origins="http://localhost:3000")
    async with httpx.AsyncClient(base_url=f"http://{address}") as dev:
        opened = await dev.get("/api/workflows", headers=origin)
        assert opened.headers["access-control-allow-origin"] == "http://localhost:3000"

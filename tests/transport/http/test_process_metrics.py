"""What a transport measures of itself, read from its own page."""

import re

import httpx
import pytest

from tests.transport.conftest import Open
from tests.transport.story import ANA, STARTED, Chat, client, user_message

pytestmark = pytest.mark.broker


def value(page: str, series: str) -> float:
    """Of a series, by its name and its labels as the page writes them; 0 where it has none."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


async def test_requests_sockets_messages_and_delivery_are_measured(
    open_transport: Open, chat: Chat
) -> None:
    address = await open_transport()
    await chat.append(STARTED)
    viewer = await client(f"{address}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await chat.append(user_message("live"))
    await viewer.until("chat.text")
    await viewer.send(type="client.resume", chat_id=chat.key.chat, lastClientIndex=0)
    await viewer.until("chat.resume_boundary")
    await viewer.send_raw("no message")
    await viewer.until("chat.error")
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
        assert (await http.get("/api/health")).status_code == 200
        for path in ("/no/such/page", "/wp-login.php"):
            assert (await http.get(path)).status_code == 404
        page = (await http.get("/metrics")).text
    request = "mozaiks_http_request_duration_seconds_count"
    assert value(page, f'{request}{{method="GET",route="/api/health",status="200"}}') == 1
    assert value(page, f'{request}{{method="GET",route="unmatched",status="404"}}') == 2
    message = "mozaiks_transport_message_duration_seconds_count"
    assert value(page, f'{message}{{outcome="handled",type="client.resume"}}') == 1
    assert value(page, f'{message}{{outcome="refused",type="unreadable"}}') == 1
    assert value(page, "mozaiks_transport_sockets") == 1
    sent = value(page, 'mozaiks_transport_frames_total{over="websocket"}')
    assert sent >= len(viewer.frames)
    assert value(page, "mozaiks_transport_delivery_seconds_count") == 1
    assert value(page, "mozaiks_nats_connected") == 1
    assert value(page, "mozaiks_ready") == 1
    assert value(page, "mozaiks_event_loop_delay_seconds_count") >= 0
    assert chat.key.app not in page
    assert chat.key.chat not in page
    assert ANA not in page
    await viewer.close()

from typing import Any

from contracts.events.turn import ToolReturned


async def test_the_clocks_of_the_mcp_server_are_read(play: Any) -> None:
    chat = await play("What time is it in Vienna?", "And in Tokyo?")
    assert [one.status for one in chat.of(ToolReturned)] == ["ok", "ok"]
    assert "Europe/Vienna" in chat.texts[1]
    assert "Asia/Tokyo" in chat.texts[-1]
    assert chat.ended is None

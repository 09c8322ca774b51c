from typing import Any


async def test_a_ticket_is_solved_and_closed(play: Any) -> None:
    chat = await play("My bill is wrong", "thanks")
    assert chat.variables["solved"] is True
    assert chat.ended == "completed"

from typing import Any


async def test_every_idea_is_kept_on_the_board_and_nobody_speaks_twice_in_a_row(play: Any) -> None:
    chat = await play("A picnic")
    said = [one["name"] for one in chat.messages if one["role"] == "assistant" and one["content"]]
    speakers = [name for number, name in enumerate(said) if number == 0 or said[number - 1] != name]
    assert len(chat.variables["board"]) == len(speakers) == 6
    assert chat.ended == "completed"

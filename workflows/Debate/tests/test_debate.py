from typing import Any


async def test_everybody_speaks_once_after_the_users_question(play: Any) -> None:
    chat = await play("Cats or dogs?")
    speakers = [one["name"] for one in chat.messages]
    assert speakers == ["user", "Advocate", "Critic", "Judge"]
    assert "“Cats or dogs?”" in chat.texts[0]
    assert chat.ended == "completed"

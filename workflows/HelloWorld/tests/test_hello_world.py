from typing import Any


async def test_the_greeting_repeats_what_the_user_said_and_the_user_is_next(play: Any) -> None:
    chat = await play(message="hi")
    assert "“hi”" in chat.texts[0]
    assert chat.ended is None

from typing import Any


async def test_the_interview_becomes_a_plan_and_an_approved_blueprint(play: Any) -> None:
    chat = await play("A garden planner", "Approve")
    assert chat.ended == "completed"
    assert chat.variables["idea"] == "A garden planner"
    assert chat.variables["effort_days"] == 8
    assert chat.variables["approved"] is True
    assert "I count 8 days for 4 steps" in chat.texts[3]


async def test_a_blueprint_that_is_not_approved_is_recorded_as_such(play: Any) -> None:
    chat = await play("A garden planner", "Reject")
    assert chat.variables["approved"] is False

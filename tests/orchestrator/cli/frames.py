"""Frames of a chat, as a client receives them."""

import json
from typing import Any

from mozaiks_client.frames import Frame, parse

BOUNDARY = "chat.resume_boundary"


def frame(type_: str, seq: int | None = 1, **data: Any) -> Frame:
    return parse(json.dumps({"type": type_, "data": data, "seq": seq}))


def chunk(text: str, offset: int, runner: str = "r") -> Frame:
    return frame(
        "chat.print", agent="Clerk", content=text, turn=1, call=0, offset=offset, runner=runner
    )


def message(text: str, role: str = "assistant", **more: Any) -> Frame:
    agent = "Clerk" if role == "assistant" else "user"
    return frame("chat.text", agent=agent, role=role, content=text, **more)


def question(
    id_: str = "q1",
    prompt: str = "Which bread?",
    options: tuple[str, ...] = (),
    audience: dict[str, list[str]] | None = None,
) -> Frame:
    shown: dict[str, Any] = {} if audience is None else {"audience": audience}
    return frame(
        "chat.input_request",
        agent="Clerk",
        request_id=id_,
        prompt=prompt,
        options=list(options),
        **shown,
        expires_at=None,
        turn=1,
        tool_call_id="c1",
    )


def component(id_: str, **payload: Any) -> Frame:
    return frame(
        "chat.tool_call",
        agent="Clerk",
        tool_name="pick",
        ui_tool_id="pick",
        component_type="Picker",
        awaiting_response=True,
        corr=id_,
        event_id=id_,
        tool_call_id=id_,
        display="inline",
        display_type="inline",
        payload=payload,
    )


def answered(id_: str, text: str = "rye") -> Frame:
    return frame("chat.input_ack", request_id=id_, input_request_id=id_, text=text)


def speaker(name: str) -> Frame:
    return frame("chat.select_speaker", agent=name, selected_speaker=name, turn=2, by="after_work")


def called(tool: str, arguments: str = "{}") -> Frame:
    return frame(
        "chat.tool_activity",
        agent="Clerk",
        tool_call_id="c1",
        tool_name=tool,
        arguments=arguments,
        turn=1,
        call=0,
        phase="called",
    )


def returned(tool: str, content: str, status: str = "ok") -> Frame:
    return frame(
        "chat.tool_activity",
        agent="Clerk",
        tool_call_id="c1",
        tool_name=tool,
        turn=1,
        call=0,
        phase="returned",
        status=status,
        content=content,
    )


def ended(status: int = 1, reason: str = "terminate") -> Frame:
    return frame(
        "chat.run_complete",
        status=status,
        reason=reason,
        duration_sec=1.0,
        total_tokens=0,
        cost=0.0,
    )

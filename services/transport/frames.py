"""One message to a client, and how it is written."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contracts.ids import Seq

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to a client; `top` is what ChatUI reads beside `type` instead of in `data`.

    `more` says that another frame of the same event follows.
    """

    type: str
    data: Data
    time: datetime | None = None
    top: Data = field(default_factory=dict)
    seq: Seq | None = None
    more: bool = False


def encode(frame: Frame) -> str:
    message: Data = {"type": frame.type, "data": frame.data}
    if frame.time is not None:
        message["timestamp"] = frame.time.isoformat()
    if "agent" in frame.data:
        message["agent"] = frame.data["agent"]
    message |= frame.top
    if frame.seq is not None:
        message["seq"] = frame.seq
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def error(message: str, code: str, **more: str) -> Frame:
    data = {"message": message, "error_code": code, **more}
    return Frame("chat.error", data, top={"message": message, "error_code": code})

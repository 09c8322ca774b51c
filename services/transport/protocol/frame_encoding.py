"""A frame on its way to a client, and how it is encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import websockets.frames
from pydantic_core import to_json
from websockets.frames import Opcode

from contracts.frozen import replace
from contracts.ids import Seq
from contracts.wire.frames import ErrorData, FrameData, HistoryData


class _Kept:
    """What was made of a frame, for all viewers that get it; no fields, so that no copy has them."""

    __slots__ = ("socket_frame", "text", "timed")

    socket_frame: bytes
    text: str
    timed: "Frame"


@dataclass(frozen=True, slots=True)
class Frame(_Kept):
    """`data` in its place: `seq` is the event's, `more` says that another frame of it follows.

    `encoded_frames` are those of a history: they are encoded once, when they are collected.
    """

    data: FrameData
    time: datetime | None = None
    seq: Seq | None = None
    more: bool = False
    encoded_frames: tuple[bytes, ...] = ()

    @property
    def type(self) -> str:
        return self.data.frame_type


def with_time(frame: Frame, clock: Callable[[], datetime]) -> Frame:
    """The frame with a time, which is that of the first call where it has none of its own."""
    if frame.time is not None:
        return frame
    try:
        return frame.timed
    except AttributeError:
        timed = replace(frame, time=clock())
        object.__setattr__(frame, "timed", timed)
        return timed


_NO_FRAMES = b'"frames":[]}'


def encode(frame: Frame) -> str:
    """The frame as JSON: `type`, `data`, and what ChatUI reads beside them. Encoded once."""
    try:
        return frame.text
    except AttributeError:
        text = encode_bytes(frame).decode()
        object.__setattr__(frame, "text", text)
        return text


def encode_for_socket(frame: Frame) -> bytes:
    """The frame as a WebSocket frame of a server: unmasked, not compressed. Encoded once."""
    try:
        return frame.socket_frame
    except AttributeError:
        message = websockets.frames.Frame(Opcode.TEXT, encode(frame).encode())
        encoded = message.serialize(mask=False)
        object.__setattr__(frame, "socket_frame", encoded)
        return encoded


def encode_bytes(frame: Frame) -> bytes:
    data = frame.data
    beside: dict[str, Any] = {}
    if frame.time is not None:
        beside["timestamp"] = frame.time.isoformat()
    for name in _names_beside(data):
        value = getattr(data, name)
        if value is not None or name not in data.omitted:
            beside[name] = value
    if frame.seq is not None:
        beside["seq"] = frame.seq
    body = data.__pydantic_serializer__.to_json(data)
    if isinstance(data, HistoryData):
        body = body.removesuffix(_NO_FRAMES) + b'"frames":' + json_list(frame.encoded_frames) + b"}"
    head = b'{"type":"%b","data":%b' % (frame.type.encode(), body)
    return head + (b"," + to_json(beside)[1:] if beside else b"}")


def json_list(encoded: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(encoded) + b"]"


def _names_beside(data: FrameData) -> Sequence[str]:
    agent = ("agent",) if "agent" in type(data).model_fields else ()
    replay = ("replay", "index") if data.replay else ()
    return (*agent, *data.promoted, *replay)


def error(message: str, code: str, *, agent: str | None = None, field: str | None = None) -> Frame:
    return Frame(ErrorData(message=message, error_code=code, agent=agent, field=field))

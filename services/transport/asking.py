"""How a general chat looks on the socket of another chat: its words, and none of its machinery."""

from dataclasses import replace

from services.transport.frames import Data, Frame
from services.transport.general import GeneralChat

_SHOWN = {"chat.text", "chat.print", "chat.usage_delta", "chat.error"}
"""A thinking agent would close the artifact of the workflow, an end the whole page of ChatUI."""


def asked(frame: Frame, general: GeneralChat) -> Frame | None:
    """The frame as the other chat's client may have it: its own cursor is of its own chat."""
    if frame.type not in _SHOWN:
        return None
    named: Data = {"general_chat_id": general.key.chat, "general_chat_label": general.label}
    data = {**frame.data, **named}
    if frame.type == "chat.text":
        metadata = {**frame.data["metadata"], **named, "source": "general_agent"}
        data["metadata"] = metadata
    return replace(frame, data=data, seq=None, more=False)


def told_of(general: GeneralChat) -> Data:
    """What every frame that introduces a general chat says of it."""
    return {
        "general_chat_id": general.key.chat,
        "general_chat_label": general.label,
        "general_chat_sequence": general.number,
        "app_id": general.key.app,
    }


def mode_is_general(general: GeneralChat) -> Frame:
    return Frame("chat.mode_changed", {"mode": "general", **told_of(general)})


def mode_is_workflow(chat_id: str, workflow: str) -> Frame:
    data = {"mode": "workflow", "chat_id": chat_id, "workflow_name": workflow}
    return Frame("chat.mode_changed", data)


def session_created(general: GeneralChat) -> Frame:
    return Frame("chat.general_session_created", told_of(general))

"""Frames of a general chat as they are shown on another chat's socket."""

from dataclasses import replace
from typing import Any

from contracts.wire.frames import (
    ErrorData,
    GeneralChatCreatedData,
    GeneralModeData,
    PrintData,
    TextData,
    UsageData,
    WorkflowModeData,
)
from services.transport.chats.general import GeneralChat
from services.transport.protocol.frame_encoding import Frame


def as_general_frame(frame: Frame, general: GeneralChat) -> Frame | None:
    """The frame without its cursor, which is of the other chat; none for frames that are not shown.

    A selected speaker would close the artifact of the workflow, an end the whole page of ChatUI.
    """
    names = {"general_chat_id": general.key.chat, "general_chat_label": general.label}
    match frame.data:
        case TextData(metadata=metadata):
            marks: dict[str, Any] = {
                **names,
                "metadata": {**metadata, **names, "source": "general_agent"},
            }
        case PrintData() | UsageData() | ErrorData():
            marks = {**names}
        case _:
            return None
    return replace(frame, data=frame.data.model_copy(update=marks), seq=None, more=False)


def general_mode_entered(general: GeneralChat) -> Frame:
    return Frame(
        GeneralModeData(
            general_chat_id=general.key.chat,
            general_chat_label=general.label,
            general_chat_sequence=general.number,
            app_id=general.key.app,
        )
    )


def workflow_mode_entered(chat_id: str, workflow: str) -> Frame:
    return Frame(WorkflowModeData(chat_id=chat_id, workflow_name=workflow))


def general_session_created(general: GeneralChat) -> Frame:
    return Frame(
        GeneralChatCreatedData(
            general_chat_id=general.key.chat,
            general_chat_label=general.label,
            general_chat_sequence=general.number,
            app_id=general.key.app,
        )
    )

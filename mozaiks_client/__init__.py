"""Typed Python client of the Mozaiks Runtime."""

from mozaiks_client.chat import Chat, EffectsPage
from mozaiks_client.chat_list import ListedChat
from mozaiks_client.client import Client
from mozaiks_client.errors import (
    ApiError,
    DamagedExportError,
    RewindRefusedError,
    ServiceUnavailableError,
)
from mozaiks_client.explanation import Explanation
from mozaiks_client.export import ExportedChat
from mozaiks_client.frames import Frame, Page, UnknownData
from mozaiks_client.inbox import AnswerLink, InboxQuestion

__all__ = [
    "AnswerLink",
    "ApiError",
    "Chat",
    "Client",
    "DamagedExportError",
    "EffectsPage",
    "Explanation",
    "ExportedChat",
    "Frame",
    "InboxQuestion",
    "ListedChat",
    "Page",
    "RewindRefusedError",
    "ServiceUnavailableError",
    "UnknownData",
]

"""Typed Python client of the Mozaiks Runtime."""

from mozaiks_client.chat import Chat, EffectsPage
from mozaiks_client.chat_list import ListedChat
from mozaiks_client.client import Client
from mozaiks_client.errors import ApiError, RewindRefusedError, ServiceUnavailableError
from mozaiks_client.frames import Frame, Page, UnknownData
from mozaiks_client.inbox import AnswerLink, InboxQuestion

__all__ = [
    "AnswerLink",
    "ApiError",
    "Chat",
    "Client",
    "EffectsPage",
    "Frame",
    "InboxQuestion",
    "ListedChat",
    "Page",
    "RewindRefusedError",
    "ServiceUnavailableError",
    "UnknownData",
]

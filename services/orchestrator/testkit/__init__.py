"""Test workflows without servers: play chats in process, with scripted or recorded model replies."""

from services.orchestrator.testkit.player import (
    Answer,
    Component,
    Expire,
    Input,
    PlayedChat,
    Say,
    play,
)

__all__ = ["Answer", "Component", "Expire", "Input", "PlayedChat", "Say", "play"]

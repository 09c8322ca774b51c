"""Every page, and the page that tells of them all."""

from typing import Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.router import Router
from litestar.static_files import create_static_files_router

from services.transport import openapi
from services.transport.openapi import Told, told
from services.transport.pages import (
    agui,
    chats,
    files,
    general,
    house,
    lists,
    signin,
    talk,
    workflows,
)
from services.transport.signin.principal import open_to

TITLE = "Mozaiks Runtime"
VERSION = "1"


@get(
    "/schema",
    opt=told(Told("This document.", {"openapi": openapi.VERSION}, open_to="everyone")),
    sync_to_thread=False,
)
def schema() -> dict[str, Any]:
    return openapi.document(HANDLERS, TITLE, VERSION)


HANDLERS: list[HTTPRouteHandler] = [
    *workflows.HANDLERS,
    *chats.HANDLERS,
    *lists.HANDLERS,
    *talk.HANDLERS,
    *signin.HANDLERS,
    *files.HANDLERS,
    *general.HANDLERS,
    *agui.HANDLERS,
    *house.HANDLERS,
    schema,
]


def console_files() -> Router:
    return create_static_files_router("/console", [house.CONSOLE], opt=open_to("everyone"))

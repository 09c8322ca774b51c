"""The page that renders the OpenAPI document: Swagger UI, served from our own origin."""

from pathlib import Path

from litestar import get
from litestar.params import FromPath
from litestar.response import File
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from services.transport.auth.principal import access
from services.transport.errors import ApiError

PAGE = Path(__file__).parent / "reference_page"
ASSETS = {
    "start.js": (PAGE, "text/javascript"),
    "swagger-ui-bundle.js": (swagger_ui_path, "text/javascript"),
    "swagger-ui.css": (swagger_ui_path, "text/css"),
}
SECURITY_HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles on its elements
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "cache-control": "no-cache",
}


@get(
    "/schema/docs",
    include_in_schema=False,
    opt=access("everyone"),
    media_type="text/html",
    sync_to_thread=False,
)
def reference_page() -> File:
    return File(PAGE / "index.html", content_disposition_type="inline", headers=SECURITY_HEADERS)


@get(
    "/schema/assets/{name:str}",
    include_in_schema=False,
    opt=access("everyone"),
    sync_to_thread=False,
)
def reference_asset(name: FromPath[str]) -> File:
    if name not in ASSETS:
        raise ApiError("NOT_ALLOWED", "name", "there is no such file")
    folder, media_type = ASSETS[name]
    return File(
        folder / name,
        media_type=media_type,
        content_disposition_type="inline",
        headers=SECURITY_HEADERS,
    )


HANDLERS = [reference_page, reference_asset]

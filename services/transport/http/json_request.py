"""The request whose JSON body is parsed by the rules that hold for every message of a client."""

from typing import Any

from litestar import Request

from services.transport.protocol.validation import parse_object

AnyRequest = Request[Any, Any, Any]


class JsonRequest(AnyRequest):
    """Litestar reads the body through `json` before it validates it as the handler's model."""

    async def json(self) -> dict[str, Any]:
        """The object in the body. Raises ApiError."""
        return parse_object("body", await self.body())

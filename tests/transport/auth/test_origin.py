import pytest

from services.transport.auth.origin import require_allowed_origin
from services.transport.errors import ApiError

OURS = frozenset({"https://chat.example"})


@pytest.mark.parametrize(
    "origin", [None, "https://chat.example", "http://runtime:8000", "https://RUNTIME:8000"]
)
def test_pages_of_our_own_origin_and_of_configured_origins_are_allowed(origin: str | None) -> None:
    require_allowed_origin(origin, "runtime:8000", OURS)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://chat.example",
        "https://chat.example.evil.example",
        "http://runtime",
        "http://runtime:8000.evil.example",
        "http://x@runtime:8000",
        "null",
        "",
        "http://[",
    ],
)
def test_pages_of_other_origins_are_rejected(origin: str) -> None:
    with pytest.raises(ApiError, match="origin: not allowed") as raised:
        require_allowed_origin(origin, "runtime:8000", OURS)
    assert raised.value.status == 403


def test_an_origin_without_a_host_is_never_our_own() -> None:
    with pytest.raises(ApiError):
        require_allowed_origin("null", "", frozenset())


def test_a_star_allows_every_origin() -> None:
    require_allowed_origin("https://evil.example", "runtime:8000", frozenset({"*"}))

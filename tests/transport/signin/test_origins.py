import pytest

from services.transport.refusals import RefusalError
from services.transport.signin.origins import refuse_foreign

OURS = frozenset({"https://chat.example"})


@pytest.mark.parametrize(
    "origin", [None, "https://chat.example", "http://runtime:8000", "https://RUNTIME:8000"]
)
def test_our_own_pages_and_those_on_the_list_may_ask(origin: str | None) -> None:
    refuse_foreign(origin, "runtime:8000", OURS)


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
def test_pages_of_somebody_else_may_not(origin: str) -> None:
    with pytest.raises(RefusalError, match="origin: pages of this origin") as refusal:
        refuse_foreign(origin, "runtime:8000", OURS)
    assert refusal.value.status == 403


def test_an_origin_without_a_host_is_never_ours() -> None:
    with pytest.raises(RefusalError):
        refuse_foreign("null", "", frozenset())


def test_a_star_lets_every_page_ask() -> None:
    refuse_foreign("https://evil.example", "runtime:8000", frozenset({"*"}))

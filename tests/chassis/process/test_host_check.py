"""Which `Host` headers name a service: none that a page of somebody else can bring about."""

import pytest

from services.chassis.process.host_check import is_allowed_host
from services.chassis.settings import Settings

LOCAL = Settings().hosts


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "chat.localhost:8000",
        "127.0.0.1",
        "127.0.0.1:8000",
        "10.1.2.3:8000",
        "[::1]",
        "[::1]:8000",
    ],
)
def test_an_address_or_localhost_is_always_accepted(host: str | None) -> None:
    assert is_allowed_host(host, LOCAL)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "attacker.example",
        "attacker.example:8000",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "notlocalhost",
        "127.0.0.1@attacker.example",
        "attacker.example#localhost",
        "0x7f.1",
    ],
)
def test_no_other_name_is_accepted_on_a_loopback_address_without_authentication(host: str) -> None:
    assert not is_allowed_host(host, LOCAL)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("chat.example", True),
        ("Chat.Example.:443", True),
        ("a.apps.example", True),
        ("a.b.apps.example", True),
        ("apps.example", False),
        ("evilapps.example", False),
        ("other.example", False),
    ],
)
def test_the_setting_lists_names_and_subdomains(host: str, expected: object) -> None:
    hosts = Settings(allowed_hosts="chat.example, *.Apps.example").hosts
    assert is_allowed_host(host, hosts) is expected


def test_a_service_on_the_network_is_called_by_any_name_until_names_are_listed() -> None:
    assert is_allowed_host("chat.example", Settings(host="0.0.0.0").hosts)
    assert not is_allowed_host(
        "x.example", Settings(host="0.0.0.0", allowed_hosts="y.example").hosts
    )

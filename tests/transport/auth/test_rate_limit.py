from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.ids import AppId, UserId
from services.transport.auth.principal import UNRESTRICTED, Principal, Scope
from services.transport.auth.rate_limit import RateLimiter
from services.transport.errors import ApiError

ACME, BETA = AppId("acme"), AppId("beta")


def principal(name: str = "ana", scope: Scope = "user", *apps: AppId) -> Principal:
    return Principal(
        user=UserId(name),
        apps=frozenset(apps or {ACME}),
        scopes=frozenset({scope}),
        expires_at=datetime(9999, 1, 1, tzinfo=UTC),
    )


def allowed(rates: RateLimiter, identity: Any, app: AppId | None = ACME, now: float = 100.0) -> int:
    """How many of a thousand requests at one instant are allowed."""
    for count in range(1000):
        try:
            rates.consume(identity, app, now)
        except ApiError:
            return count
    return 1000


def test_a_burst_of_a_quarter_minute_is_allowed_then_the_rate_applies() -> None:
    rates = RateLimiter(per_user=60, per_app=0)
    assert allowed(rates, principal()) == 15
    assert allowed(rates, principal(), now=102.0) == 2
    assert allowed(rates, principal(), now=1000.0) == 15


def test_an_error_gives_the_seconds_to_wait() -> None:
    rates = RateLimiter(per_user=6, per_app=0)
    allowed(rates, principal())
    with pytest.raises(
        ApiError, match=r"user_id: rate limit exceeded \(6 requests per minute\)"
    ) as raised:
        rates.consume(principal(), ACME, 101.0)
    wait = raised.value.retry_after or 0.0
    assert raised.value.status == 429
    assert wait == pytest.approx(4.0)
    rates.consume(principal(), ACME, 101.0 + wait)


def test_a_rate_below_one_per_burst_still_allows_one_request() -> None:
    assert allowed(RateLimiter(per_user=1, per_app=0), principal()) == 1


def test_users_have_separate_limits_and_share_the_limit_of_their_app() -> None:
    rates = RateLimiter(per_user=40, per_app=60)
    assert allowed(rates, principal("ana")) == 10
    assert allowed(rates, principal("bob")) == 5
    assert allowed(rates, principal("eve", "user", BETA), BETA) == 10


def test_a_request_without_an_app_counts_for_all_apps_of_the_token() -> None:
    rates = RateLimiter(per_user=0, per_app=4)
    assert allowed(rates, principal(), None) == 1
    assert allowed(rates, principal("bob"), ACME) == 0


def test_a_back_end_is_limited_by_the_rate_of_its_app_only() -> None:
    rates = RateLimiter(per_user=4, per_app=480)
    assert allowed(rates, principal("shop", "internal")) == 120


def test_without_sign_in_or_with_a_limit_of_zero_nothing_is_limited() -> None:
    assert allowed(RateLimiter(per_user=4, per_app=4), UNRESTRICTED) == 1000
    assert allowed(RateLimiter(per_user=0, per_app=0), principal()) == 1000


def test_the_number_of_buckets_is_limited_and_the_least_recently_used_is_dropped() -> None:
    rates = RateLimiter(per_user=4, per_app=0, max_buckets=2)
    for name in ("ana", "bob", "eve"):
        assert allowed(rates, principal(name)) == 1
    assert len(rates) == 2
    assert allowed(rates, principal("eve")) == 0
    assert allowed(rates, principal("ana")) == 1


def test_the_addresses_of_clients_have_separate_limits() -> None:
    rates = RateLimiter(per_user=0, per_app=0, per_address=8)
    for _ in range(2):
        rates.consume_address("10.0.0.1", 100.0)
    with pytest.raises(ApiError, match=r"client: rate limit exceeded \(8 requests per minute\)"):
        rates.consume_address("10.0.0.1", 100.0)
    rates.consume_address("10.0.0.2", 100.0)

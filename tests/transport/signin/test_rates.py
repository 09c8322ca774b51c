from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.ids import AppId, UserId
from services.transport.refusals import RefusalError
from services.transport.signin.principal import ANYONE, Principal, Scope
from services.transport.signin.rates import Rates

ACME, BETA = AppId("acme"), AppId("beta")


def somebody(name: str = "ana", scope: Scope = "user", *apps: AppId) -> Principal:
    return Principal(
        user=UserId(name),
        apps=frozenset(apps or {ACME}),
        scopes=frozenset({scope}),
        until=datetime(9999, 1, 1, tzinfo=UTC),
    )


def passed(rates: Rates, who: Any, app: AppId | None = ACME, now: float = 100.0) -> int:
    """How many pass at one instant before one is refused, of a thousand."""
    for count in range(1000):
        try:
            rates.take(who, app, now)
        except RefusalError:
            return count
    return 1000


def test_a_quarter_of_a_minute_may_come_at_once_and_then_as_much_as_time_brings() -> None:
    rates = Rates(per_user=60, per_app=0)
    assert passed(rates, somebody()) == 15
    assert passed(rates, somebody(), now=102.0) == 2
    assert passed(rates, somebody(), now=1000.0) == 15


def test_a_refusal_says_when_to_come_back() -> None:
    rates = Rates(per_user=6, per_app=0)
    passed(rates, somebody())
    with pytest.raises(RefusalError, match="user_id: asks more than 6 times") as refusal:
        rates.take(somebody(), ACME, 101.0)
    wait = refusal.value.retry_after or 0.0
    assert refusal.value.status == 429
    assert wait == pytest.approx(4.0)
    rates.take(somebody(), ACME, 101.0 + wait)


def test_a_rate_below_one_burst_still_lets_one_pass() -> None:
    assert passed(Rates(per_user=1, per_app=0), somebody()) == 1


def test_users_do_not_spend_each_others_rate_but_share_that_of_their_app() -> None:
    rates = Rates(per_user=40, per_app=60)
    assert passed(rates, somebody("ana")) == 10
    assert passed(rates, somebody("bob")) == 5
    assert passed(rates, somebody("eve", "user", BETA), BETA) == 10


def test_where_no_app_is_named_those_of_the_token_are_asked() -> None:
    rates = Rates(per_user=0, per_app=4)
    assert passed(rates, somebody(), None) == 1
    assert passed(rates, somebody("bob"), ACME) == 0


def test_a_back_end_is_bound_by_its_apps_rate_alone() -> None:
    rates = Rates(per_user=4, per_app=480)
    assert passed(rates, somebody("shop", "internal")) == 120


def test_without_sign_in_or_a_limit_nobody_is_counted() -> None:
    assert passed(Rates(per_user=4, per_app=4), ANYONE) == 1000
    assert passed(Rates(per_user=0, per_app=0), somebody()) == 1000


def test_the_buckets_are_bounded_and_the_oldest_goes_first() -> None:
    rates = Rates(per_user=4, per_app=0, kept=2)
    for name in ("ana", "bob", "eve"):
        assert passed(rates, somebody(name)) == 1
    assert len(rates) == 2
    assert passed(rates, somebody("eve")) == 0
    assert passed(rates, somebody("ana")) == 1

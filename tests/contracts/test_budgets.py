"""Which limits apply to whom, how they are written, and when their periods end."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.budgets import (
    ANY_APP,
    PERIODS,
    Account,
    AppBudget,
    Limit,
    Period,
    Scope,
    ends_at,
    from_amount,
    limits_of,
    limits_of_call,
    to_amount,
    window,
)
from contracts.ids import AppId, ChatId, UserId, WorkflowName

SHOP = AppId("shop")
DAY = Limit(scope="user", unit="tokens", period="day", hard=1000)


def call(*limits: Limit) -> dict[Account, list[float | None]]:
    found = limits_of_call(limits, SHOP, UserId("ana"), WorkflowName("Hello"), ChatId("c1"))
    return {account: [limit.hard for limit in own] for account, own in found}


def test_without_limits_no_account_counts_a_call() -> None:
    assert call() == {}
    assert call(DAY.model_copy(update={"name": "bob"})) == {}
    assert call(Limit(unit="upload_bytes", hard=10)) == {}


def test_each_scope_has_an_account_of_its_own() -> None:
    scopes: tuple[Scope, ...] = ("app", "user", "workflow", "chat")
    found = call(*(Limit(scope=one, unit="cost", period="month", hard=5) for one in scopes))
    names: dict[Scope, str] = {"app": "", "user": "ana", "workflow": "Hello", "chat": "c1"}
    assert found == {Account(SHOP, scope, names[scope]): [5] for scope in scopes}


def test_a_limit_for_one_user_comes_before_the_one_for_each_user() -> None:
    own = DAY.model_copy(update={"name": "ana", "hard": 5.0})
    assert call(DAY, own) == call(own, DAY) == {Account(SHOP, "user", "ana"): [5.0]}
    lifted = DAY.model_copy(update={"name": "ana", "hard": None})
    assert call(DAY, lifted) == {}


def test_a_command_comes_before_the_environment_and_an_app_before_every_app() -> None:
    def budget(hard: float) -> AppBudget:
        return AppBudget(limits=(DAY.model_copy(update={"hard": hard}),))

    configured = {ANY_APP: budget(1), SHOP: budget(3)}
    stored = {ANY_APP: budget(2), SHOP: budget(4)}
    assert [one.hard for one in limits_of(SHOP, stored, configured)] == [4]
    assert [one.hard for one in limits_of(SHOP, {}, configured)] == [3]
    assert [one.hard for one in limits_of(AppId("other"), stored, configured)] == [2]
    assert limits_of(SHOP, {}, {}) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unit": "tokens", "hard": 1.5}, "whole numbers"),
        ({"unit": "tokens", "hard": -1}, "greater than or equal"),
        ({"unit": "tokens", "hard": "nan"}, "finite"),
        ({"unit": "tokens", "soft": 5, "hard": 4}, "soft: 5 is more than hard: 4"),
        ({"unit": "tokens", "name": "ana", "hard": 4}, "name: a limit of the app"),
        ({"unit": "value_bytes", "period": "day", "hard": 4}, "in total only"),
        ({"unit": "upload_bytes", "scope": "user", "hard": 4}, "in total only"),
        ({"unit": "euros", "hard": 4}, "unit"),
        ({"unit": "tokens", "hard": 4, "per": "day"}, "per"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_the_name_of_its_field(
    given: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Limit.model_validate(given)


def test_an_app_has_one_limit_of_a_kind() -> None:
    budget = AppBudget(limits=(DAY,))
    changed = budget.with_limit(DAY.model_copy(update={"hard": 7.0}))
    assert [one.hard for one in changed.limits] == [7.0]
    assert changed.without(DAY.kind).limits == ()
    with pytest.raises(ValidationError, match="two of user tokens day"):
        AppBudget(limits=(DAY, DAY))


def test_a_cost_is_counted_in_whole_nanodollars() -> None:
    assert to_amount("cost", 0.0000001) == 100
    assert from_amount("cost", to_amount("cost", 12.34)) == 12.34
    assert to_amount("tokens", 12) == from_amount("tokens", 12) == 12


TIMES = st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(TIMES, st.sampled_from(PERIODS))
def test_the_window_of_a_period_ends_where_the_next_one_begins(
    time: datetime, period: Period
) -> None:
    end = ends_at(period, time)
    if end is None:
        assert (period, window(period, time)) == ("total", "")
        return
    assert window(period, end - timedelta(microseconds=1)) == window(period, time)
    assert window(period, end) > window(period, time)


def test_periods_are_those_of_utc() -> None:
    late = datetime(2026, 11, 30, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert window("month", late) == "2026-12"
    assert ends_at("month", late) == datetime(2027, 1, 1, tzinfo=UTC)

"""How often someone may ask: a bucket for each user and each app, none kept that nobody uses."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from contracts.ids import AppId, UserId
from services.transport.refusals import RefusalError
from services.transport.signin.principal import Principal, Who

MINUTE = 60.0
BURST_SECONDS = 15.0
"""What fifteen seconds allow may come at once: a page that opens asks much, then little."""
KEPT = 10_000
"""Buckets of one kind; whoever has not come for longest starts with a full one again."""

Key = TypeVar("Key", bound=Hashable)


def due_after(due: float, now: float, per_minute: int) -> tuple[float, float]:
    """When the bucket will be full again after one more, and how long to wait for that one.

    The wait is 0 where the one may pass. (The generic cell rate algorithm.)
    """
    each = MINUTE / per_minute
    full = max(due, now) + each
    return full, max(0.0, full - now - max(BURST_SECONDS, each))


class _Buckets(Generic[Key]):
    def __init__(self, per_minute: int, field: str, kept: int) -> None:
        self._per_minute = per_minute
        self._field = field
        self._kept = kept
        self._due: OrderedDict[Key, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def take(self, key: Key, now: float) -> None:
        if not self._per_minute:
            return
        full, wait = due_after(self._due.get(key, 0.0), now, self._per_minute)
        if wait:
            problem = f"asks more than {self._per_minute} times a minute"
            raise RefusalError("RATE_LIMITED", self._field, problem, retry_after=wait)
        self._due[key] = full
        self._due.move_to_end(key)
        if len(self._due) > self._kept:
            self._due.popitem(last=False)


class Rates:
    """Counts who asks, in this process; 0 a minute is no limit."""

    def __init__(self, per_user: int, per_app: int, kept: int = KEPT) -> None:
        self._users: _Buckets[UserId] = _Buckets(per_user, "user_id", kept)
        self._apps: _Buckets[AppId] = _Buckets(per_app, "app_id", kept)

    def __len__(self) -> int:
        return len(self._users) + len(self._apps)

    def take(self, who: Who, app: AppId | None, now: float) -> None:
        """Count one thing that somebody asks of an app. Raises RefusalError: when to come back.

        Without sign-in anyone may call themselves anything: there is nobody to count.
        """
        if not isinstance(who, Principal):
            return
        if not who.has("internal"):  # a back end speaks for many: its app's rate is enough
            self._users.take(who.user, now)
        for one in (app,) if app is not None else who.apps:
            self._apps.take(one, now)

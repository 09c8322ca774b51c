"""Rate limits per user, app and client address, by the generic cell rate algorithm, in this process."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from contracts.ids import AppId, UserId
from services.transport.auth.principal import Identity, Principal
from services.transport.errors import ApiError

MINUTE = 60.0
BURST_SECONDS = 15.0
"""The allowance of so many seconds may be used at once: a page that opens sends a burst."""
MAX_BUCKETS = 10_000
"""Buckets of one kind that are kept; the one that was not used for longest is dropped, and full again."""

REFUSED_PER_MINUTE = 60
"""Refused messages, repeated replays and switches to chats of one socket; one that sends more is closed."""

K = TypeVar("K", bound=Hashable)


def next_allowed(full_at: float, now: float, per_minute: int) -> tuple[float, float]:
    """When the bucket will be full again after one more request, and the seconds to wait before it.

    The wait is 0 where the request is allowed. (Generic cell rate algorithm, ITU-T I.371.)
    """
    interval = MINUTE / per_minute
    next_full_at = max(full_at, now) + interval
    return next_full_at, max(0.0, next_full_at - now - max(BURST_SECONDS, interval))


class _Buckets(Generic[K]):
    def __init__(self, per_minute: int, field: str, max_buckets: int) -> None:
        self._per_minute = per_minute
        self._field = field
        self._max_buckets = max_buckets
        self._full_at: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def consume(self, key: K, now: float) -> None:
        if not self._per_minute:
            return
        next_full_at, retry_after = next_allowed(self._full_at.get(key, 0.0), now, self._per_minute)
        if retry_after:
            problem = f"rate limit exceeded ({self._per_minute} requests per minute)"
            raise ApiError("RATE_LIMITED", self._field, problem, retry_after=retry_after)
        self._full_at[key] = next_full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_buckets:
            self._full_at.popitem(last=False)


class RateLimiter:
    """Limits requests and messages per minute; 0 is no limit."""

    def __init__(
        self, per_user: int, per_app: int, per_address: int = 0, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self._users: _Buckets[UserId] = _Buckets(per_user, "user_id", max_buckets)
        self._apps: _Buckets[AppId] = _Buckets(per_app, "app_id", max_buckets)
        self._addresses: _Buckets[str] = _Buckets(per_address, "client", max_buckets)

    def __len__(self) -> int:
        return len(self._users) + len(self._apps) + len(self._addresses)

    def consume(self, identity: Identity, app: AppId | None, now: float) -> None:
        """Count one request. Raises ApiError with `retry_after` in seconds at a limit.

        Without sign-in nothing is counted: a client could name a new user each time.
        """
        if not isinstance(identity, Principal):
            return
        if not identity.has_scope("internal"):  # a back end acts for many users of its app
            self._users.consume(identity.user, now)
        for app_id in (app,) if app is not None else identity.apps:
            self._apps.consume(app_id, now)

    def consume_address(self, address: str, now: float) -> None:
        """Count one request to a page that is open to everyone. Raises ApiError as `consume`."""
        self._addresses.consume(address, now)

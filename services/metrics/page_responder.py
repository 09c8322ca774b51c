"""Answers requests for pages that come over NATS, from the transport."""

import hmac
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import SecretStr, ValidationError

from contracts import subjects
from contracts.metrics_pages import STATUS_HEADER, TYPE_HEADER, MetricsPageRequested
from services.chassis.logs.repeats import RateLimitedLog
from services.metrics.nats_permissions import SERVICE
from services.metrics.pages import Page, Pages, problem

log = logging.getLogger(__name__)

MOST_WAITING = 64
"""Requests that wait for this process; of more the client drops the oldest, which are asked again."""
HEADER_BYTES = 1024


class PageResponder:
    """Answers as the HTTP routes do; a reader needs METRICS_TOKEN here, too, where it is set."""

    def __init__(self, nc: Client, pages: Pages, token: SecretStr | None) -> None:
        self._nc = nc
        self._pages = pages
        self._digest = None if token is None else digest_of(token.get_secret_value())
        self._log = RateLimitedLog(log)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer until the end of the block; of several processes one answers each request."""
        subscription = await self._nc.subscribe(
            subjects.METRICS_PAGES,
            queue=SERVICE,
            cb=self._on_request,
            pending_msgs_limit=MOST_WAITING,
        )
        try:
            yield
        finally:
            with suppress(NatsError):  # the connection is closed, and its subscriptions with it
                await subscription.unsubscribe()

    async def _on_request(self, message: Msg) -> None:
        page = self.answer(message.data)
        body = zlib.compress(page.body, level=1)
        if len(body) > self._nc.max_payload - HEADER_BYTES:
            page = problem(413, "the page is larger than a message of NATS: ask metrics itself")
            body = zlib.compress(page.body)
        headers = {STATUS_HEADER: str(page.status), TYPE_HEADER: page.content_type}
        try:
            await self._nc.publish(message.reply, body, headers=headers)
        except (NatsError, OSError) as error:  # whoever asked asks again
            self._log.warning("a page could not be sent", why=repr(error))

    def answer(self, data: bytes) -> Page:
        """The page that a request asks for."""
        try:
            request = MetricsPageRequested.model_validate_json(data)
        except ValidationError:
            return problem(400, "not a request for a page of the metrics service")
        if not self._admits(request):
            return problem(401, "Authorization: expected Bearer and the METRICS_TOKEN")
        return self._pages.render(request)

    def _admits(self, request: MetricsPageRequested) -> bool:
        if self._digest is None or request.operator:
            return True
        given = (request.token_digest or "").encode()
        return hmac.compare_digest(given, self._digest.encode())


def digest_of(token: str) -> str:
    """What MetricsPageRequested carries of a token."""
    return sha256(token.encode()).hexdigest()

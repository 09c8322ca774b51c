"""Request context: the services of this process, and the identity that a request acts for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from contracts.ids import AppId
from services.chassis.answer_links import AnswerLinks
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits
from services.chassis.budgets.storage import StorageQuota
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import Identity
from services.transport.auth.rate_limit import RateLimiter
from services.transport.auth.tickets import Tickets
from services.transport.chats.app_capacity import AppCapacity
from services.transport.chats.attachments import AttachmentStore, UploadLimiter
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.chats.chat_list import ChatListService
from services.transport.chats.forks import ChatForks
from services.transport.chats.general import GeneralChats
from services.transport.chats.read_models import ReadModels
from services.transport.chats.rewinds import RewindService
from services.transport.chats.service import ChatService
from services.transport.chats.user_chats import UserChats
from services.transport.connection_limit import ConnectionLimiter
from services.transport.delivery.broadcast import ChannelHub
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.metrics import TransportMetrics
from services.transport.settings import Settings


class ShutdownSignal:
    """Set once this process starts to shut down: long responses then end by themselves."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


@dataclass(frozen=True, slots=True)
class AppServices:
    """What all requests of this process share, once NATS is connected."""

    settings: Settings
    gateway: JetStreamGateway
    projections: ProjectionCache
    capacity: AppCapacity
    hub: ChannelHub
    connections: ConnectionLimiter
    uploads: UploadLimiter
    workflows: WorkflowCatalogue
    attachments: AttachmentStore
    answer_links: AnswerLinks | None
    metrics: TransportMetrics
    tickets: Tickets
    rate_limiter: RateLimiter
    shutdown: ShutdownSignal
    budgets: BudgetLimits
    ledgers: BudgetLedgers
    storage: StorageQuota
    started_at: datetime
    clock: Callable[[], datetime]

    def for_request(self, identity: Identity) -> "RequestContext":
        chats = ChatService(
            self.gateway,
            self.projections,
            self.workflows,
            self.settings.start_wait_seconds,
            self.hub.live_view,
            self.capacity,
            identity,
        )
        return RequestContext(self, identity, chats)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request: shared services, the identity it acts for, and the chats this identity may see."""

    services: AppServices
    identity: Identity
    chats: ChatService

    def count_message(self, app: AppId) -> None:
        """Count one message against the rate limits of this identity. Raises ApiError."""
        now = asyncio.get_running_loop().time()
        self.services.rate_limiter.consume(self.identity, app, now)

    @property
    def read_models(self) -> ReadModels:
        return ReadModels(self.services.gateway.lookups)

    @property
    def user_chats(self) -> UserChats:
        return UserChats(self.services.gateway.key_values, self.read_models, self.identity)

    @property
    def chat_list(self) -> ChatListService:
        return ChatListService(
            self.chats, self.read_models, self.services.settings.deleted_chat_grace_days
        )

    @property
    def forks(self) -> ChatForks:
        return ChatForks(self.services.gateway, self.chats)

    @property
    def rewinds(self) -> RewindService:
        return RewindService(self.chats, self.services.gateway, self.services.projections)

    @property
    def general_chats(self) -> GeneralChats:
        """The general chats among the chats of this context."""
        return GeneralChats(self.chats, self.user_chats, self.services.workflows)

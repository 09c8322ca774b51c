"""Messages between the processes that consume one queue, on core NATS: others return what one that is gone held."""

from pydantic import BaseModel, ConfigDict

from contracts.ids import StreamSeq


class PeerAnnounced(BaseModel):
    """A process that consumes the queue. Where a reply subject is given, each peer answers PeerHoldings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: str
    starting: bool = False
    """Whether it does not consume the queue yet, and receives no probes."""
    leaving: bool = False
    """Whether it has stopped, and holds nothing any more."""


class PeerHoldings(BaseModel):
    """The messages that a process handles, or returned with a delay: nobody else may return them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    process: str
    positions: list[StreamSeq]

"""Everyone who takes part in a run: ours, the peers, and the model that all of them ask."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.contender import Contender
from benchmarks.peers.library import Library
from benchmarks.peers.model import Model
from benchmarks.peers.ours import Ours

LANGGRAPH, DBOS, AGNO = "LangGraph", "DBOS", "Agno"


@dataclass(frozen=True, slots=True)
class Lineup:
    """Running, and warm: each has had some turns."""

    ours: Ours
    peers: Sequence[Library]
    model: Model

    @property
    def contenders(self) -> list[Contender]:
        return [self.ours, *self.peers]

    @property
    def storing(self) -> list[Contender]:
        """Without the floor, which stores nothing."""
        return [self.ours, *(peer for peer in self.peers if peer.stores)]

    def peer(self, name: str) -> Library | None:
        """None where it does not take part."""
        return next((peer for peer in self.peers if peer.name == name), None)


class Repetitions(defaultdict[str, list[float]]):
    """Values by contender, one of each repetition."""

    def __init__(self) -> None:
        super().__init__(list)

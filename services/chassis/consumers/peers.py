"""Which processes consume the same queue, and which of them are gone: decided without I/O.

A process is asked for on a subject that only it subscribes to. Where nobody does, the server answers
at once that there are no responders: the process has no connection, because it ended or because it
reconnects. A slow or paused process keeps its connection, so that load alone makes nobody gone.
"""

from dataclasses import dataclass, replace

PROBED_PEERS = 2
"""How many of the others each process probes: the next ones in the order of their ids."""
GRACE_SECONDS = 0.3
"""For how long a peer must have no connection: longer than a reconnect takes."""
MAX_GRACE_SECONDS = 2.4
"""After peers came back that were taken for gone; doubled with each."""
FORGIVE_SECONDS = 60.0
SILENT_SECONDS = 15.0
"""After how long without an announcement a process is no peer any more."""


@dataclass(frozen=True, slots=True)
class _Absence:
    """Consecutive probes without a subscriber: since the first was answered, up to the last."""

    since: float
    probe: int


class PeerTable:
    """The other processes of a queue, as one of them knows them. Times are seconds of one clock."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._heard: dict[str, float] = {}
        self._absences: dict[str, _Absence] = {}
        self._gone: dict[str, float] = {}
        self._suspects: frozenset[str] = frozenset()
        self._grace = GRACE_SECONDS
        self._mistaken_at = float("-inf")

    @property
    def members(self) -> frozenset[str]:
        return frozenset(self._heard)

    @property
    def is_suspicious(self) -> bool:
        """Whether a peer had no connection when it was last probed."""
        return bool(self._absences)

    def grace(self, now: float) -> float:
        return self._grace if now - self._mistaken_at < FORGIVE_SECONDS else GRACE_SECONDS

    def heard(self, process: str, now: float) -> None:
        """A process announced itself, or answered. One that was taken for gone was mistaken for it."""
        if process == self._own:
            return
        if self._gone.pop(process, None) is not None:
            self._grace = min(2 * self.grace(now), MAX_GRACE_SECONDS)
            self._mistaken_at = now
        self._heard[process] = now

    def left(self, process: str) -> None:
        """A process has stopped and left nothing behind."""
        self._forget(process)

    def targets(self, now: float) -> list[str]:
        """The peers to probe now."""
        for process in [one for one, at in self._heard.items() if now - at > SILENT_SECONDS]:
            self._forget(process)
        ring = sorted(self._heard)
        after = [one for one in ring if one > self._own]
        nearest = (after + ring)[: min(PROBED_PEERS, len(ring))]
        return sorted({*nearest, *self._absences, *(self._suspects & self.members)})

    def suspect(self, processes: frozenset[str]) -> None:
        """Probe these, too, until others are named: they did not answer what they hold."""
        self._suspects = processes

    def absent(self, process: str, probe: int, sent_at: float, now: float) -> bool:
        """Nobody had subscribed when a probe reached the server; whether the process is gone by that.

        Gone are those for whom it is so for the grace, by consecutive probes: the last of them was
        sent that long after the first was answered.
        """
        if process not in self._heard:
            return False
        absence = self._absences.get(process)
        if absence is None or absence.probe != probe - 1:
            self._absences[process] = _Absence(now, probe)
            return False
        self._absences[process] = replace(absence, probe=probe)
        if sent_at - absence.since < self.grace(now):
            return False
        self._forget(process)
        self._gone[process] = now
        self._gone = {one: at for one, at in self._gone.items() if now - at < FORGIVE_SECONDS}
        return True

    def drop_unconfirmed(self, probe: int) -> None:
        """Forget absences that this probe, the last one, did not confirm."""
        self._absences = {one: it for one, it in self._absences.items() if it.probe >= probe}

    def reset(self) -> None:
        """Forget all absences: this process itself had no connection."""
        self._absences.clear()

    def _forget(self, process: str) -> None:
        self._heard.pop(process, None)
        self._absences.pop(process, None)

"""Long chats: opening one, a turn in it, and the bytes it takes, by its length.

Every contender has one chat that grows by real turns, all of them in steps. A turn is four messages:
of the user, the model's tool call, the tool's result, the model's answer.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.peers.comparison import OURS, Comparison, PeerAim
from benchmarks.peers.contender import Contender
from benchmarks.peers.lineup import Lineup, Repetitions
from benchmarks.peers.model import Model
from benchmarks.peers.rows.turns import spend, warm_up

MESSAGES_OF_A_TURN = 4
LENGTHS = (20, 200, 800)
"""Messages at which the chat is opened and the next model request is timed."""
FARTHEST = 2_000
"""Ours only: is it flat beyond?"""
STORED_AFTER = (10, 50, 200)
"""Turns after which bytes are counted."""
OPENINGS = 7
PROBED_TURNS = 5
"""Turns right after a length is reached."""
EARLY_TURNS = 2
"""Turns of a chat before the one whose CPU time is compared with that of a late one: message 10."""
COLD_REQUESTS = 3
TAIL = 100
KILOBYTE = 1024


@dataclass(slots=True)
class Growing:
    """A contender's chat, and what was seen of it."""

    contender: Contender
    chat: str
    empty: Mapping[str, int]
    """Bytes stored before its first turn, by where they are."""
    turns: int = 0
    opened: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    opened_tail: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    size: dict[int, int] = field(default_factory=dict)
    asked: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    stored: dict[int, Mapping[str, float]] = field(default_factory=dict)
    """Kilobytes of the chat after so many turns, by where they are."""

    @classmethod
    async def of(cls, contender: Contender) -> "Growing":
        await contender.settle()
        (chat,) = await contender.chats(1)
        return cls(contender, chat, await contender.stored())

    async def grow_to(self, turns: int) -> None:
        if turns > self.turns:
            await self.contender.turns([self.chat], turns - self.turns)
            self.turns = turns
        await self.contender.settle()

    async def count_bytes(self) -> None:
        self.stored[self.turns] = {
            place: (size - self.empty[place]) / KILOBYTE
            for place, size in (await self.contender.stored()).items()
        }

    async def look(self, model: Model) -> None:
        """Open it, and time a few further turns."""
        length = self.turns * MESSAGES_OF_A_TURN
        for _ in range(OPENINGS):
            opening = await self.contender.open(self.chat)
            self.opened[length].append(1000 * opening.seconds)
            self.size[length] = opening.size
            tail = await self.contender.open(self.chat, TAIL)
            self.opened_tail[length].append(1000 * tail.seconds)
        await model.requests()
        ran, spent = await spend(self.contender, [self.chat], PROBED_TURNS)
        self.turns += PROBED_TURNS
        self.asked[length] = first_requests(ran.began, await model.requests())
        self.cpu[length] = sum(spent.values())


def first_requests(began: Sequence[float], came: Sequence[float]) -> list[float]:
    """Milliseconds from each user message to the first model request after it."""
    return [1000 * (min(at for at in came if at > sent) - sent) for sent in began]


async def measure(lineup: Lineup) -> list[Comparison]:
    chats = [await Growing.of(contender) for contender in lineup.storing]
    looked = {length // MESSAGES_OF_A_TURN for length in LENGTHS}
    for turns in sorted(looked | set(STORED_AFTER)):
        for chat in chats:
            await chat.grow_to(turns)
            if turns in STORED_AFTER:
                await chat.count_bytes()
            if turns in looked:
                await chat.look(lineup.model)
    ours = chats[0]
    cold = [await _cold_request(lineup, ours) for _ in range(COLD_REQUESTS)]
    await ours.grow_to(FARTHEST // MESSAGES_OF_A_TURN)
    await ours.look(lineup.model)
    early = Repetitions()
    for chat in chats:
        early[chat.contender.name] = [await _early_cpu(chat.contender)]
        await chat.contender.leave([chat.chat])
    return [*_rows(chats, early), _cold(chats, cold)]


async def _cold_request(lineup: Lineup, growing: Growing) -> float:
    """Milliseconds to the model request where no orchestrator has the chat in memory."""
    await lineup.ours.product.restart_orchestrator()
    await warm_up(lineup.ours)
    await lineup.model.requests()
    ran = await lineup.ours.turns([growing.chat], 1)
    growing.turns += 1
    (taken,) = first_requests(ran.began, await lineup.model.requests())
    return taken


async def _early_cpu(contender: Contender) -> float:
    """Milliseconds of CPU time of a turn at message 10, of one chat after the other."""
    spent: list[float] = []
    for _ in range(PROBED_TURNS):
        chats = await contender.chats(1)
        await contender.turns(chats, EARLY_TURNS)
        _, parts = await spend(contender, chats, 1)
        spent.append(sum(parts.values()))
        await contender.leave(chats)
    return sum(spent) / len(spent)


def _rows(chats: Sequence[Growing], early: Repetitions) -> list[Comparison]:
    ours, last = chats[0], LENGTHS[-1]
    return [
        *(_opening(chats, length) for length in LENGTHS),
        *(_opening_tail(chats, length) for length in LENGTHS),
        *(_request(chats, length) for length in LENGTHS),
        _flat("open", ours.opened),
        _flat("open, newest events", ours.opened_tail),
        _flat("to the next model request", ours.asked),
        Comparison(
            "CPU of a turn at message 800 / at message 10",
            "x",
            {c.contender.name: [c.cpu[last] / median(early[c.contender.name])] for c in chats},
            PeerAim(limit=1.3),
            note=f"ours: {ours.cpu[last]:.0f} ms, {median(early[OURS]):.0f} ms; "
            f"at {FARTHEST:,}: {ours.cpu[FARTHEST]:.0f} ms",
        ),
        *(_stored(chats, turns) for turns in STORED_AFTER),
        _stored_by_a_turn(chats, STORED_AFTER[-1]),
    ]


def _stored_by_a_turn(chats: Sequence[Growing], turns: int) -> Comparison:
    values = {c.contender.name: [sum(c.stored[turns].values()) / turns] for c in chats}
    ours = ", ".join(
        f"{place} {size / turns:.1f}" for place, size in chats[0].stored[turns].items()
    )
    note = f"ours: {ours}; JetStream compresses a block of its files when it is full"
    return Comparison(f"stored, each turn of {turns}", "KB", values, PeerAim(limit=5.0), note=note)


def _opening(chats: Sequence[Growing], length: int) -> Comparison:
    sizes = ", ".join(f"{c.contender.name} {c.size[length] / KILOBYTE:,.0f} KB" for c in chats)
    aim = PeerAim(1.0) if length == LENGTHS[-1] else None
    values = {c.contender.name: c.opened[length] for c in chats}
    return Comparison(
        f"open a chat of {length} messages, all of them", "ms", values, aim, note=sizes
    )


def _opening_tail(chats: Sequence[Growing], length: int) -> Comparison:
    values = {c.contender.name: c.opened_tail[length] for c in chats}
    name = f"open a chat of {length} messages, ours: newest {TAIL} events"
    return Comparison(name, "ms", values, PeerAim(1.0) if length == LENGTHS[-1] else None)


def _request(chats: Sequence[Growing], length: int) -> Comparison:
    values = {c.contender.name: c.asked[length] for c in chats}
    aim = PeerAim(1.0) if length == LENGTHS[-1] else None
    return Comparison(f"to the next model request, {length} messages", "ms", values, aim)


def _cold(chats: Sequence[Growing], cold: Sequence[float]) -> Comparison:
    last = LENGTHS[-1]
    peers = {c.contender.name: c.asked[last] for c in chats[1:]}
    name = f"to the next model request, {last} messages, not in memory"
    note = "ours: orchestrator restarted; the peers keep no chat in memory"
    return Comparison(name, "ms", {OURS: cold, **peers}, note=note)


def _flat(name: str, values: Mapping[int, Sequence[float]]) -> Comparison:
    late, far = median(values[LENGTHS[-1]]), median(values[FARTHEST])
    return Comparison(
        f"{name}: {FARTHEST:,} messages / {LENGTHS[-1]}",
        "x",
        {OURS: [far / late]},
        PeerAim(limit=1.2),
        note=f"{far:.1f} ms, {late:.1f} ms",
    )


def _stored(chats: Sequence[Growing], turns: int) -> Comparison:
    values = {c.contender.name: [sum(c.stored[turns].values())] for c in chats}
    note = "on the disk, without journals"
    return Comparison(f"stored after {turns} turns of a chat", "KB", values, note=note)

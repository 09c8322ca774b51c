"""The index of the decisions, from their pages."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "decisions"
PAGE = FOLDER / "index.md"
PARTS = ("What", "Why", "Alternatives", "Cost", "Revisit when")
_HEAD = re.compile(r"# (?P<title>.+)\n\n(?P<topic>[^\n,]+), (?P<date>\d{4}-\d\d-\d\d)\n\n")
_INTRODUCTION = """# Decisions

Why the code is as it is. Each page says what was decided, why, which alternatives there were, what it costs, and when to
revisit it. To add a decision, write a page like the others into `docs/decisions/` and run `make reference`.
"""


@dataclass(frozen=True, slots=True)
class Decision:
    name: str
    title: str
    topic: str
    date: str


class DecisionFormatError(ValueError):
    """A page of docs/decisions/ that is not written like the others."""


def read(page: Path) -> Decision:
    """Raises DecisionFormatError naming the page and what it lacks."""
    text = page.read_text()
    head = _HEAD.match(text)
    if head is None:
        raise DecisionFormatError(f"{page.name}: expected '# Title', then 'Topic, YYYY-MM-DD'")
    found = tuple(re.findall(r"^\*\*([^*]+)\.\*\* ", text, re.MULTILINE))
    if found != PARTS:
        raise DecisionFormatError(f"{page.name}: has {found}, expected {PARTS}")
    return Decision(page.name, head["title"], head["topic"], head["date"])


def index(decisions: list[Decision]) -> str:
    """The text of the index: decisions by topic, in the order of their dates."""
    topics: dict[str, list[Decision]] = defaultdict(list)
    for decision in sorted(decisions, key=lambda one: (one.date, one.title)):
        topics[decision.topic].append(decision)
    sections = [
        f"## {topic}\n\n" + "\n".join(f"* [{one.title}]({one.name}), {one.date}" for one in listed)
        for topic, listed in sorted(topics.items())
    ]
    return "\n\n".join([_INTRODUCTION.rstrip(), *sections]) + "\n"


def text() -> str:
    """The index of docs/decisions/. Raises DecisionFormatError."""
    return index([read(page) for page in sorted(FOLDER.glob("*.md")) if page != PAGE])

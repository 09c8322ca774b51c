"""Read the documentation's Markdown: its pages, their code blocks and their inline code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]*)"')
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced code block; `title` is what stands in its first line as `title="..."`."""

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Page:
    """A page, by its path in the repository."""

    path: str
    text: str

    @property
    def prose(self) -> str:
        """The text without its code blocks."""
        return _FENCE.sub("", self.text)

    @property
    def inline(self) -> list[str]:
        """What stands in backticks."""
        return _INLINE.findall(self.prose)

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def snippets(self) -> list[Snippet]:
        return list(self._snippets())

    def _snippets(self) -> Iterator[Snippet]:
        for found in _FENCE.finditer(self.text):
            line = self.text.count("\n", 0, found.start()) + 1
            title = _TITLE.search(found[3])
            indent = found[1]
            text = "".join(one.removeprefix(indent) for one in found[4].splitlines(keepends=True))
            yield Snippet(self.path, line, found[2], title[1] if title else "", text)


def pages() -> list[Page]:
    """README, CONTRIBUTING and every page of docs/, in the order of their paths."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(str(path.relative_to(ROOT)), path.read_text()) for path in paths]

"""Build the documentation site, strictly: `python -m docs.generators.site`.

Broken links and anchors, pages that the navigation does not name, and anything that a built page
would load from another host are errors.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
SITE = ROOT / ".cache" / "site"
_LOADED = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
)


def navigation_problems() -> list[str]:
    """Pages that the navigation lacks, and entries that are no page."""
    config = tomllib.loads((ROOT / "zensical.toml").read_text())
    entries = list(_entries(config["project"]["nav"]))
    pages = {str(page.relative_to(PAGES)) for page in PAGES.rglob("*.md") if not _is_indexed(page)}
    return [
        *(f"{page}: not in the navigation of zensical.toml" for page in sorted(pages - {*entries})),
        *(f"{entry}: in the navigation, but no page" for entry in entries if entry not in pages),
        *(f"{one}: in the navigation twice" for one in {*entries} if entries.count(one) > 1),
    ]


def _is_indexed(page: Path) -> bool:
    """Decisions are listed by their own index, which is generated from them."""
    return page.parent == PAGES / "decisions" and page.name != "index.md"


def _entries(nav: list[str | dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        if isinstance(entry, str):
            yield entry
            continue
        for inner in entry.values():
            yield from _entries(inner if isinstance(inner, list) else [inner])


def loads_from_other_hosts() -> list[str]:
    """What built pages load from elsewhere; links that a reader may follow do not count."""
    return [
        f"{page.relative_to(SITE)}: loads {found}"
        for page in sorted(SITE.rglob("*.html"))
        for found in _LOADED.findall(page.read_text())
    ]


def build() -> int:
    """The exit code of a strict build; the output is zensical's own."""
    shutil.rmtree(SITE, ignore_errors=True)
    # Never with --clean: it empties all of .cache.
    zensical = str(Path(sys.executable).with_name("zensical"))
    done = subprocess.run([zensical, "build", "--strict"], cwd=ROOT, check=False)
    return done.returncode


def main() -> int:
    problems = navigation_problems()
    code = build()
    if code == 0:
        problems += loads_from_other_hosts()
    for problem in problems:
        print(f"docs: {problem}", file=sys.stderr)
    return code or bool(problems)


if __name__ == "__main__":
    sys.exit(main())

"""Render docs/diagrams/*.mmd (Mermaid) to SVG: `python -m docs.generators.diagrams [--check]`.

Browsers show the SVG files without JavaScript and without a network. Each file carries the SHA-256
of its source, so that `--check` finds a diagram that was edited and not rendered again.
"""

import hashlib
import json
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from infra import browser, npm

FOLDER = Path(__file__).parents[1] / "diagrams"
CONFIG = {
    "startOnLoad": False,
    "theme": "base",
    "themeVariables": {
        "primaryColor": "#e8eefc",
        "primaryBorderColor": "#5470c6",
        "lineColor": "#56627a",
        "edgeLabelBackground": "#ffffff",
        "background": "#ffffff",
    },
    "htmlLabels": False,  # a picture in an <img> may show no HTML
    "deterministicIds": True,
    "fontFamily": "Verdana, DejaVu Sans, sans-serif",  # wide: text fits where another font is used
    "flowchart": {"htmlLabels": False, "curve": "basis"},
    "sequence": {"mirrorActors": False, "showSequenceNumbers": False},
}


def sources() -> list[Path]:
    return sorted(FOLDER.glob("*.mmd"))


def differences() -> list[str]:
    """Diagrams whose SVG is missing or was rendered from another text."""
    return [source.name for source in sources() if _digest(source) not in _rendered(source)]


def render(changed: list[Path]) -> None:
    """Write the SVG file of each source. Raises RuntimeError where the tools are missing."""
    packages, chromium = npm.find(npm.MERMAID), browser.find_browser()
    if packages is None or chromium is None:
        raise RuntimeError("rendering needs npm's mermaid and a Chromium: run `make diagrams`")
    script = packages / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        page = launched.new_page()
        page.add_script_tag(path=script)
        for source in changed:
            _target(source).write_text(_svg(page, source))
        launched.close()


def _svg(page: Page, source: Path) -> str:
    config = json.dumps({**CONFIG, "deterministicIDSeed": source.stem})
    page.evaluate(f"mermaid.initialize({config})")
    svg: str = page.evaluate(
        "async ([id, text]) => (await mermaid.render(id, text)).svg",
        [source.stem.replace("_", "-"), source.read_text()],
    )
    svg = svg.replace('style="', 'style="background: #ffffff; ', 1)  # readable on dark pages
    return f"{svg}\n<!-- sha256 of {source.name}: {_digest(source)} -->\n"


def _target(source: Path) -> Path:
    return source.with_suffix(".svg")


def _rendered(source: Path) -> str:
    return _target(source).read_text() if _target(source).is_file() else ""


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def main(arguments: list[str]) -> int:
    stale = differences()
    if "--check" not in arguments:
        render([source for source in sources() if source.name in stale])
        return 0
    for name in stale:
        print(f"docs/diagrams/{name}: not rendered since it changed; run `make diagrams`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

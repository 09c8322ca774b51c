"""Write every generated page: `python -m docs.generators [--check]`; with `--check` only compare."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from docs.generators import (
    api_endpoints,
    configuration,
    dashboards,
    decisions,
    events,
    metrics,
    mozaiks_command,
    nack,
    nats_permissions,
    prometheus_rule,
    typescript,
    websocket,
)

ROOT = Path(__file__).parents[2]
PAGES: Mapping[Path, Callable[[], str]] = {
    decisions.PAGE: decisions.text,
    configuration.PAGE: configuration.text,
    api_endpoints.PAGE: api_endpoints.text,
    events.PAGE: events.text,
    metrics.PAGE: metrics.text,
    mozaiks_command.PAGE: mozaiks_command.text,
    websocket.PAGE: websocket.text,
    nats_permissions.PAGE: nats_permissions.text,
    **dict.fromkeys(prometheus_rule.PAGES, prometheus_rule.text),
    typescript.HTTP: typescript.http,
    typescript.FRAMES_FILE: typescript.frames,
    **dict.fromkeys(nack.PAGES, nack.text),
    **{page: partial(str, content) for page, content in dashboards.pages().items()},
}


def differences() -> list[Path]:
    """Pages that are missing, or hold another text than the code says now."""
    return [
        page for page, text in PAGES.items() if not page.is_file() or page.read_text() != text()
    ]


def main(arguments: list[str]) -> int:
    try:
        stale = differences()
    except (configuration.UndescribedError, decisions.DecisionFormatError) as wrong:
        print(f"docs: {wrong}", file=sys.stderr)
        return 1
    for page in stale:
        if "--check" in arguments:
            print(
                f"{page.relative_to(ROOT)} is not up to date; run `make reference`", file=sys.stderr
            )
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(PAGES[page]())
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

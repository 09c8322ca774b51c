"""An MCP server over stdio that misbehaves; its argument is its tools.

Written without the protocol's library, which takes a second to import: for each call one is started.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class ToolError(Exception):
    """The server's answer to a call that fails."""


def look(where: str = "here") -> str:
    """Look somewhere."""
    return f"the server saw {where}"


def secret() -> str:
    """The secret in its environment."""
    return os.environ.get("TOKEN", "nothing")


def fail() -> str:
    """Fail."""
    raise ToolError("no luck in /srv/secret/place.db")


def hang() -> str:
    """Never return."""
    signal.pause()
    return "never"


def die() -> str:
    """End the process."""
    os._exit(3)


def flood() -> str:
    """Return megabytes."""
    return "x" * 3_000_000


def unsteady(marker: str) -> str:
    """Fail the first time."""
    path = Path(marker)
    if not path.exists():
        path.write_text("tried")
        raise ToolError("not yet")
    return "better"


def note(marker: Path, meta: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Append the idempotency keys of a request to a file."""
    noted = [meta.get("mozaiks/idempotency-key"), headers.get("idempotency-key")]
    with marker.open("a") as file:
        file.write(json.dumps(noted) + "\n")


def charge(marker: str, what: str, meta: Mapping[str, Any]) -> str:
    """Note the key of the request, and then do as told: return, or end the process."""
    note(Path(marker), meta, {})
    if what == "die":
        os._exit(3)
    return "charged"


TEXT = {"type": "string"}
CHARGED = {"marker": TEXT, "what": TEXT}
TOOLS: dict[str, tuple[Callable[..., str], dict[str, Any], tuple[str, ...]]] = {
    **{one.__name__: (one, {}, ()) for one in (secret, fail, hang, die, flood)},
    "look": (look, {"where": TEXT}, ()),
    "bad.name": (look, {"where": TEXT}, ()),
    "unsteady": (unsteady, {"marker": TEXT}, ("marker",)),
    "charge": (charge, CHARGED, ("marker", "what")),
    "find": (charge, CHARGED, ("marker", "what")),
}
"""The function of each tool, its parameters and those of them that are required."""
READ_ONLY = ("find",)


def described(name: str) -> dict[str, Any]:
    work, properties, required = TOOLS[name]
    return {
        "name": name,
        "description": work.__doc__,
        "inputSchema": {"type": "object", "properties": properties, "required": list(required)},
        "annotations": {"readOnlyHint": True} if name in READ_ONLY else {},
    }


def called(name: str, arguments: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    work, _, _ = TOOLS[name]
    try:
        text = work(**arguments, **({"meta": meta} if work is charge else {}))
    except ToolError as error:
        text = f"Error executing tool {name}: {error}"
        return {"content": [{"type": "text", "text": text}], "isError": True}
    return {"content": [{"type": "text", "text": text}], "isError": False}


def answered(method: str, params: dict[str, Any], tools: list[str]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [described(name) for name in tools]}
    if method == "tools/call":
        return called(params["name"], params.get("arguments", {}), params.get("_meta", {}))
    return {}


def main(tools: list[str]) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:  # else a notification
            result = answered(asked["method"], asked.get("params", {}), tools)
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
            sys.stdout.write("\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1].split(","))

"""The tools of the workshop: each kind of what a tool can do, once."""

from typing import Any

_RESERVED: set[str] = set()


def open_shop(context_variables: dict[str, Any]) -> None:
    context_variables["opened"] = True


def close_shop(context_variables: dict[str, Any]) -> str:
    context_variables["opened"] = False
    return "closed"


async def price_of(article: str, runtime: Any, context_variables: dict[str, Any]) -> dict[str, Any]:
    """The price of an article in cents."""
    context_variables["price"] = 4900
    await runtime.emit_business_event("PRICED", f"priced {article}", level="info", cents=4900)
    return {"article": article, "cents": 4900}


async def ask_size(runtime: Any, context_variables: dict[str, Any]) -> str:
    """Ask for the size of the shelf."""
    size = await runtime.ask("Which size?", ["small", "large"], expires_in=3600, default="small")
    context_variables["size"] = size
    return f"size {size}"


def charge(cents: int, runtime: Any) -> str:
    """Take the payment."""
    runtime.receipt({"payment": f"p-{cents}"})
    return f"charged {cents}"


def reserve(article: str, runtime: Any) -> str:
    """Reserve an article; the first attempt fails."""
    if runtime.idempotency_key not in _RESERVED:
        _RESERVED.add(runtime.idempotency_key)
        raise ConnectionError("the shelf is being moved")
    return f"reserved {article}"


def catalogue(context_variables: dict[str, Any]) -> str:
    """All shelves: more than a model gets, and a variable that is larger than an event."""
    context_variables["stock"] = "shelf " * 132_000
    return "shelf, " * 30_000


def engrave(text: str) -> str:
    """Engrave a text."""
    if not text:
        raise ValueError("text: is empty; give the text to engrave")
    return text


def remind(agent: Any, messages: list[dict[str, Any]]) -> None:
    agent.update_system_message(f"{agent.system_message} Mind the {len(messages)} messages.")
    agent.context_variables["note"] = "reminded"


def sign(sender: Any, message: str, recipient: Any, silent: Any) -> str:
    del sender, recipient, silent
    return f"{message} (signed)"

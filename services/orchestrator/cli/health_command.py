"""`mozaiks health`: whether the four services are ready, and what they wait for."""

import asyncio
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from services.orchestrator.cli.exit_codes import FAILED, UNAVAILABLE

if TYPE_CHECKING:
    import httpx2

app = typer.Typer()

TRANSPORT, METRICS, ORCHESTRATOR, PERSISTENCE = (f"http://127.0.0.1:{8000 + n}" for n in range(4))
"""The addresses of `make run`."""
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """`is_ready` is None where no such service answers, and `waiting_for` says why."""

    service: str
    address: str
    is_ready: bool | None
    waiting_for: dict[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return {True: "ready", False: "not ready", None: "no answer"}[self.is_ready]


@app.command(rich_help_panel="Operations")
def health(
    transport: Annotated[
        str, typer.Option(envvar="MOZAIKS_ADDRESS", help="Its address.")
    ] = TRANSPORT,
    metrics: Annotated[str, typer.Option(help="Its address.")] = METRICS,
    orchestrator: Annotated[str, typer.Option(help="Its address.")] = ORCHESTRATOR,
    persistence: Annotated[str, typer.Option(help="Its address.")] = PERSISTENCE,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask each service whether it is ready, and what it waits for.

    Exits with 1 where one is not ready, with 3 where one does not answer.
    """
    from services.orchestrator.cli.tables import console, table

    found = asyncio.run(
        read_readiness(
            {
                "transport": transport,
                "metrics": metrics,
                "orchestrator": orchestrator,
                "persistence": persistence,
            }
        )
    )
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        rows = (
            (one.service, one.word, one.address, "; ".join(map(": ".join, one.waiting_for.items())))
            for one in found
        )
        console().print(table(("service", "state", "address", "waits for"), rows))
    raise typer.Exit(exit_code(found))


def exit_code(found: list[Readiness]) -> int:
    if any(one.is_ready is None for one in found):
        return UNAVAILABLE
    return 0 if all(one.is_ready for one in found) else FAILED


async def read_readiness(addresses: dict[str, str]) -> list[Readiness]:
    """What each service answers, all asked at once."""
    import httpx2

    async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http:
        asked = (_ask(http, service, address) for service, address in addresses.items())
        return await asyncio.gather(*asked)


async def _ask(http: "httpx2.AsyncClient", service: str, address: str) -> Readiness:
    import httpx2

    try:
        answer = await http.get(f"{address.rstrip('/')}/ready")
        body = answer.json()
        waiting = {name: str(why) for name, why in body["waiting_for"].items()}
        return Readiness(service, address, body["ready"] is True, waiting)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return Readiness(service, address, None, {"answer": str(error) or repr(error)})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Readiness(service, address, None, {"answer": "it is not that of a service"})

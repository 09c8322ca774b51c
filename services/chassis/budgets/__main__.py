"""Set, show and list budgets: `python -m services.chassis.budgets`."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.budget_report import Asked, LimitUse
from contracts.budgets import Limit, Period, Scope, Unit
from contracts.codec import describe
from contracts.ids import AppId
from contracts.subjects import InvalidIdError
from services.chassis.budgets.ledgers import BudgetLedgers
from services.chassis.budgets.limits import BudgetLimits, BudgetSettings
from services.chassis.budgets.reading import read_report
from services.chassis.budgets.storage import StorageQuota
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.local_access import local_settings

WRONG = 2
UNREACHABLE = 3
"""The exit code if NATS or the stream is not available."""


def main(arguments: Sequence[str], settings: BudgetSettings) -> int:
    """0, WRONG for a limit that makes no sense, or UNREACHABLE; argparse ends with 2."""
    options = _parser().parse_args(arguments)
    return asyncio.run(_run(options, settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.chassis.budgets",
        description="Budgets of apps in the NATS at NATS_URL.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("set", help="set a limit of an app (* is every app)")
    one.add_argument("app")
    one.add_argument("--scope", choices=get_args(Scope), default="app")
    one.add_argument("--name", help="the one user, workflow or chat; without it each of them")
    one.add_argument("--unit", choices=get_args(Unit), required=True)
    one.add_argument("--per", choices=get_args(Period), default="total")
    one.add_argument("--soft", type=float, help="where the chat is warned")
    one.add_argument("--hard", type=float, help="where an answer ends")
    one.add_argument("--remove", action="store_true", help="the limit that was set, not a new one")
    one = commands.add_parser("show", help="the limits of an app, and what is used of them")
    one.add_argument("app")
    one.add_argument("--user", action="append", default=[], help="also this user")
    one.add_argument("--workflow", action="append", default=[], help="also this workflow")
    one.add_argument("--chat", action="append", default=[], help="also this chat")
    one.add_argument("--json", action="store_true", help="one JSON array")
    one = commands.add_parser("list", help="the apps that limits were set for")
    one.add_argument("--json", action="store_true", help="one JSON object")
    one = commands.add_parser("count", help="count the bytes that an app has stored")
    one.add_argument("app")
    return parser


async def _run(options: argparse.Namespace, settings: BudgetSettings) -> int:
    try:
        async with one_shot_gateway(settings, "budgets") as gateway:
            limits = BudgetLimits(gateway, settings.configured_budgets())
            await limits.refresh()
            return await _dispatch(options, gateway, limits)
    except ValidationError as invalid:
        print(describe(invalid), file=sys.stderr)
        return WRONG
    except InvalidIdError as invalid:
        print(invalid, file=sys.stderr)
        return WRONG
    except NatsUnavailableError as error:
        print(error, file=sys.stderr)
    except (NatsError, OSError) as error:
        print(f"NATS_URL: unexpected answer of NATS ({error!r})", file=sys.stderr)
    return UNREACHABLE


async def _dispatch(
    options: argparse.Namespace, gateway: JetStreamGateway, limits: BudgetLimits
) -> int:
    match options.command:
        case "set":
            await _set(options, limits)
        case "list":
            _list(limits, as_json=options.json)
        case "count":
            quota = StorageQuota(limits, BudgetLedgers(gateway), _now)
            for unit, size in (await quota.count(gateway, AppId(options.app))).items():
                print(f"{unit}: {size:,}")
        case _:
            asked = Asked(
                frozenset(options.user), frozenset(options.workflow), frozenset(options.chat)
            )
            app = AppId(options.app)
            uses = await read_report(limits, BudgetLedgers(gateway), app, _now(), asked)
            _show(uses, as_json=options.json)
    return 0


async def _set(options: argparse.Namespace, limits: BudgetLimits) -> None:
    limit = Limit(
        scope=options.scope,
        name=options.name,
        unit=options.unit,
        period=options.per,
        soft=options.soft,
        hard=options.hard,
    )
    app = AppId(options.app)
    if options.remove:
        await limits.change(app, lambda budget: budget.without(limit.kind))
    else:
        await limits.change(app, lambda budget: budget.with_limit(limit))
    print(f"{options.app}: {len(limits.stored(app).limits)} limits are set by command")


def _list(limits: BudgetLimits, *, as_json: bool) -> None:
    found = {app: [one.model_dump() for one in limits.of(app)] for app in limits.apps}
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for app, own in found.items():
        print(f"{app}: {len(own)} limits")


def _show(uses: Sequence[LimitUse], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in uses], indent=2))
        return
    if not uses:
        print("no limits")
    for one in uses:
        print(_line(one))


def _line(one: LimitUse) -> str:
    whose = one.scope if one.name is None else f"{one.scope} {one.name}"
    bounds = " ".join(
        f"{name} {_number(value)}"
        for name, value in (("soft", one.soft), ("hard", one.hard))
        if value is not None
    )
    if one.used is None:
        return f"each {whose}: {one.unit} per {one.period}: {bounds}"
    held = f", {_number(one.held or 0)} held" if one.held else ""
    repeated = f", {_number(one.repeated or 0)} of it repeated" if one.repeated else ""
    return (
        f"{whose}: {one.unit} per {one.period}: {_number(one.used)} used{repeated}{held}; {bounds}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], local_settings(BudgetSettings)))

"""infra/observability/dashboards: Grafana's dashboards, one JSON file each, from the panels named here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "infra" / "observability" / "dashboards"
WIDTH = 24
"""Columns of Grafana's grid."""
HEIGHT = 8
_PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
_TEMPO = {"type": "tempo", "uid": "${tempo}"}


def once(expression: str) -> str:
    """A number that every replica of metrics shows, taken once."""
    return f"max without (instance, pod) ({expression})"


def rate(counter: str, *by: str) -> str:
    """Per second, summed over processes, by these labels."""
    return f"sum by ({', '.join(by)}) (rate({counter}[$__rate_interval]))"


def rate_once(counter: str, *by: str) -> str:
    """The same of a counter of the log."""
    return f"sum by ({', '.join(by)}) ({once(f'rate({counter}[$__rate_interval])')})"


def quantile(share: float, histogram: str, *by: str) -> str:
    """A quantile of a histogram over all processes."""
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}[$__rate_interval])))"


def of_app(metric: str) -> str:
    """The series of the app that the reader has chosen."""
    return f'{metric}{{app="$app"}}'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its queries by their legends."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file; `variables` are Grafana's, beside the data sources."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[Mapping[str, Any]] = ()
    own_panels: Sequence[Mapping[str, Any]] = ()


_OPEN_CHATS = 'mozaiks_chats{state=~"running|waiting"}'
_BEHIND = 'mozaiks_stream_replicas{state="behind"}'
_FAILED_REQUESTS = 'gen_ai_client_operation_duration_seconds_count{error_type!=""}'
_CACHE_READ = 'mozaiks_model_tokens_total{kind="cache_read"}'
_PROMPT = 'mozaiks_model_tokens_total{kind="prompt"}'
_TURNS = "mozaiks_turn_duration_seconds_bucket"
_COST = "mozaiks_model_cost_dollars_total"
_COST_OF_RANGE = once(f"increase({_COST}[$__range])")
_FIRST_CHUNK = "gen_ai_client_operation_time_to_first_chunk_seconds_bucket"
_APP: Mapping[str, Any] = {
    "name": "app",
    "type": "query",
    "label": "App",
    "datasource": _PROMETHEUS,
    "query": "label_values(mozaiks_chats_started_total, app)",
    "refresh": 2,
}

OVERVIEW = Dashboard(
    "mozaiks-overview",
    "Mozaiks: overview",
    [
        Panel(
            "Stalled chats (must be 0)",
            {"{{app}}": f"sum by (app) ({once('mozaiks_stalled_chats')})"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Chats", {"{{state}}": f"sum by (state) ({once(_OPEN_CHATS)})"}, kind="stat", width=6
        ),
        Panel(
            "Dead letters",
            {"waiting": once('mozaiks_stream_messages{stream="DEAD_LETTERS"}')},
            kind="stat",
            width=6,
        ),
        Panel(
            "Processes that are ready",
            {"ready": "sum(mozaiks_ready)", "down": 'sum(up{job=~".*mozaiks.*"} == bool 0)'},
            kind="stat",
            width=6,
        ),
        Panel(
            "Turns that began",
            {"{{workflow}}": rate_once("mozaiks_turns_started_total", "workflow")},
            "ops",
        ),
        Panel(
            "Failures",
            {"{{what}} {{code}}": rate_once("mozaiks_failures_total", "what", "code")},
            "ops",
        ),
        Panel(
            "Slots in use",
            {
                "{{queue}}": "sum by (queue) (mozaiks_queue_slots_used) / sum by (queue) (mozaiks_queue_slots)"
            },
            "percentunit",
        ),
        Panel(
            "Wait for a slot, 95 %",
            {"{{queue}}": quantile(0.95, "mozaiks_queue_wait_seconds_bucket", "queue")},
            "s",
        ),
        Panel(
            "Event to socket",
            {
                "50 %": quantile(0.5, "mozaiks_transport_delivery_seconds_bucket"),
                "95 %": quantile(0.95, "mozaiks_transport_delivery_seconds_bucket"),
            },
            "s",
        ),
        Panel(
            "HTTP requests by status",
            {"{{status}}": rate("mozaiks_http_request_duration_seconds_count", "status")},
            "reqps",
        ),
        Panel(
            "HTTP, 95 %, slowest routes",
            {
                "{{method}} {{route}}": f"topk(8, {quantile(0.95, 'mozaiks_http_request_duration_seconds_bucket', 'method', 'route')})"
            },
            "s",
        ),
        Panel("Sockets", {"{{instance}}": "mozaiks_transport_sockets"}),
        Panel(
            "Frames sent",
            {"{{over}}": rate("mozaiks_transport_frames_total", "over")},
            "ops",
        ),
        Panel(
            "Time to first chunk, 95 %",
            {"{{gen_ai_request_model}}": quantile(0.95, _FIRST_CHUNK, "gen_ai_request_model")},
            "s",
        ),
        Panel(
            "Requests to models that fail",
            {
                "{{gen_ai_request_model}} {{error_type}}": rate(
                    _FAILED_REQUESTS, "gen_ai_request_model", "error_type"
                )
            },
            "ops",
        ),
        Panel(
            "Retries of models",
            {"{{model}} {{reason}}": rate("mozaiks_model_retries_total", "model", "reason")},
            "ops",
        ),
        Panel(
            "MongoDB's commands, 95 %",
            {
                "{{command}}": quantile(
                    0.95, "mozaiks_mongodb_command_duration_seconds_bucket", "command"
                )
            },
            "s",
        ),
        Panel(
            "Projection lag, 95 %",
            {"lag": quantile(0.95, "mozaiks_projection_lag_seconds_bucket")},
            "s",
        ),
        Panel(
            "Event loop delay, 99 %",
            {"{{instance}}": quantile(0.99, "mozaiks_event_loop_delay_seconds_bucket", "instance")},
            "s",
        ),
        Panel(
            "Spans of traces",
            {"dropped: {{reason}}": rate("mozaiks_spans_dropped_total", "reason")},
            "ops",
        ),
        Panel("Memory", {"{{instance}}": "process_resident_memory_bytes"}, "bytes"),
        Panel("Processors", {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}),
    ],
)

TENANT = Dashboard(
    "mozaiks-tenant",
    "Mozaiks: one tenant",
    [
        Panel("Chats", {"{{state}}": f"sum by (state) ({once(of_app('mozaiks_chats'))})"}),
        Panel("Stalled chats (must be 0)", {"{{workflow}}": once(of_app("mozaiks_stalled_chats"))}),
        Panel(
            "Chats that began",
            {"{{workflow}}": rate_once(of_app("mozaiks_chats_started_total"), "workflow")},
            "ops",
        ),
        Panel(
            "Turns, by agent",
            {"{{agent}}": rate_once(of_app("mozaiks_turns_started_total"), "agent")},
            "ops",
        ),
        Panel(
            "Turn duration, 95 %",
            {
                "{{workflow}}": f"histogram_quantile(0.95, {rate_once(of_app(_TURNS), 'workflow', 'le')})"
            },
            "s",
        ),
        Panel(
            "Failures",
            {"{{what}} {{code}}": rate_once(of_app("mozaiks_failures_total"), "what", "code")},
            "ops",
        ),
        Panel(
            "Model calls, by outcome",
            {
                "{{model}} {{outcome}}": rate_once(
                    of_app("mozaiks_model_calls_total"), "model", "outcome"
                )
            },
            "ops",
        ),
        Panel(
            "Tools, by status",
            {
                "{{tool}} {{status}}": rate_once(
                    of_app("mozaiks_tool_results_total"), "tool", "status"
                )
            },
            "ops",
        ),
        Panel(
            "Questions",
            {"{{agent}} {{kind}}": rate_once(of_app("mozaiks_questions_total"), "agent", "kind")},
            "ops",
        ),
        Panel(
            "Cost per hour",
            {"{{model}}": f"3600 * {rate_once(of_app(_COST), 'model')}"},
            "currencyUSD",
        ),
        Panel(
            "Tokens", {"{{kind}}": rate_once(of_app("mozaiks_model_tokens_total"), "kind")}, "ops"
        ),
        Panel(
            "Takeovers of runs",
            {"{{workflow}}": rate_once(of_app("mozaiks_run_claims_total"), "workflow")},
            "ops",
        ),
    ],
    [_APP],
)

NATS = Dashboard(
    "mozaiks-nats",
    "Mozaiks: NATS",
    [
        Panel(
            "Streams without a leader",
            {"{{stream}}": f"{once('mozaiks_stream_available')} == 0"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Streams that store nothing",
            {"{{stream}}": "max by (stream) (mozaiks_stream_unwritable) > 0"},
            kind="stat",
            width=6,
        ),
        Panel(
            "Replicas that are behind", {"{{stream}}": f"{once(_BEHIND)} > 0"}, kind="stat", width=6
        ),
        Panel(
            "Connections",
            {"open": "sum(mozaiks_nats_connected)", "deaf": "sum(mozaiks_nats_deaf)"},
            kind="stat",
            width=6,
        ),
        Panel("Bytes held", {"{{stream}}": once("mozaiks_stream_bytes")}, "bytes"),
        Panel("Messages held", {"{{stream}}": once("mozaiks_stream_messages")}),
        Panel(
            "Not delivered yet",
            {"{{stream}} {{consumer}}": once("mozaiks_consumer_pending_messages")},
        ),
        Panel(
            "Delivered and not settled",
            {"{{stream}} {{consumer}}": once("mozaiks_consumer_unacknowledged_messages")},
        ),
        Panel(
            "Redeliveries", {"{{consumer}}": rate("mozaiks_redeliveries_total", "consumer")}, "ops"
        ),
        Panel(
            "Returned for a process that is gone",
            {"{{queue}}": rate("mozaiks_returned_messages_total", "queue")},
            "ops",
        ),
        Panel(
            "Appends, by outcome",
            {"{{outcome}}": rate("mozaiks_append_duration_seconds_count", "outcome")},
            "ops",
        ),
        Panel(
            "Append, 95 %",
            {"append": quantile(0.95, "mozaiks_append_duration_seconds_bucket")},
            "s",
        ),
        Panel(
            "Events of an append",
            {
                "mean": "sum(rate(mozaiks_append_events_sum[$__rate_interval])) / sum(rate(mozaiks_append_events_count[$__rate_interval]))"
            },
        ),
        Panel(
            "Reconnects",
            {"{{instance}}": "increase(mozaiks_nats_reconnects_total[$__rate_interval])"},
        ),
        Panel(
            "Bytes received",
            {"{{instance}}": "rate(mozaiks_nats_received_bytes_total[$__rate_interval])"},
            "Bps",
        ),
        Panel("Metrics behind the log", {"{{instance}}": "mozaiks_log_unfolded_messages"}),
    ],
)

COST = Dashboard(
    "mozaiks-cost",
    "Mozaiks: cost",
    [
        Panel(
            "Cost in the chosen time",
            {"{{app}}": f"sum by (app) ({_COST_OF_RANGE})"},
            "currencyUSD",
            12,
            "bargauge",
        ),
        Panel(
            "The same, by model",
            {"{{provider}} {{model}}": f"sum by (provider, model) ({_COST_OF_RANGE})"},
            "currencyUSD",
            12,
            "bargauge",
        ),
        Panel(
            "Cost per hour, by workflow",
            {"{{app}} {{workflow}}": f"3600 * {rate_once(_COST, 'app', 'workflow')}"},
            "currencyUSD",
            12,
        ),
        Panel(
            "Cost per hour, by agent",
            {"{{workflow}} {{agent}}": f"3600 * {rate_once(_COST, 'workflow', 'agent')}"},
            "currencyUSD",
            12,
        ),
        Panel(
            "Tokens, by model and kind",
            {"{{model}} {{kind}}": rate_once("mozaiks_model_tokens_total", "model", "kind")},
            "ops",
            12,
        ),
        Panel(
            "Share of prompt tokens from the provider's cache",
            {"{{model}}": f"{rate_once(_CACHE_READ, 'model')} / {rate_once(_PROMPT, 'model')}"},
            "percentunit",
            12,
        ),
        Panel(
            "Limits of budgets that were reached",
            {
                "{{app}} {{scope}} {{unit}} {{level}}": rate_once(
                    "mozaiks_budget_limits_total", "app", "scope", "unit", "level"
                )
            },
            "ops",
            12,
        ),
        Panel(
            "Answers from the response cache",
            {"{{workflow}}": rate_once('mozaiks_model_calls_total{outcome="cached"}', "workflow")},
            "ops",
            12,
        ),
        Panel(
            "Tokens of one request, 95 %",
            {
                "{{gen_ai_request_model}} {{gen_ai_token_type}}": quantile(
                    0.95,
                    "gen_ai_client_token_usage_bucket",
                    "gen_ai_request_model",
                    "gen_ai_token_type",
                )
            },
            "short",
            12,
        ),
    ],
)

CHAT = Dashboard(
    "mozaiks-chat",
    "Mozaiks: one chat",
    [
        Panel(
            "Stalled chats of the app",
            {"{{workflow}}": once(of_app("mozaiks_stalled_chats"))},
            width=12,
        ),
        Panel(
            "Failures of the app",
            {"{{what}} {{code}}": rate_once(of_app("mozaiks_failures_total"), "what", "code")},
            "ops",
            12,
        ),
    ],
    [_APP, {"name": "chat", "type": "textbox", "label": "Chat id", "query": ""}],
    [
        {
            "title": "Traces of the chat's runs",
            "type": "table",
            "datasource": _TEMPO,
            "gridPos": {"x": 0, "y": 0, "w": WIDTH, "h": 12},
            "targets": [
                {
                    "refId": "A",
                    "queryType": "traceql",
                    "query": '{ span.gen_ai.conversation.id = "$chat" && span.mozaiks.app_id = "$app" }',
                    "limit": 100,
                    "tableType": "traces",
                }
            ],
        }
    ],
)
"""No series names a chat: its numbers are on /metrics/perf/chats, its course in its traces."""

DASHBOARDS = (OVERVIEW, TENANT, CHAT, NATS, COST)


def pages() -> dict[Path, str]:
    """Each file and its text."""
    return {
        FOLDER / f"{one.uid.removeprefix('mozaiks-')}.json": json.dumps(_document(one), indent=2)
        + "\n"
        for one in DASHBOARDS
    }


def expressions() -> list[str]:
    """Every query of every dashboard."""
    return [query for one in DASHBOARDS for panel in one.panels for query in panel.queries.values()]


def _document(dashboard: Dashboard) -> dict[str, Any]:
    sources = [_source("prometheus"), *([_source("tempo")] if dashboard.own_panels else [])]
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["mozaiks"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [*sources, *dashboard.variables]},
        "links": [
            {"title": "Mozaiks", "type": "dashboards", "tags": ["mozaiks"], "asDropdown": True}
        ],
        "panels": [*dashboard.own_panels, *_placed(dashboard)],
    }


def _source(kind: str) -> dict[str, Any]:
    return {"name": kind, "type": "datasource", "query": kind, "label": kind.title()}


def _placed(dashboard: Dashboard) -> list[dict[str, Any]]:
    """The panels from left to right, row after row."""
    x, y = 0, sum(one["gridPos"]["h"] for one in dashboard.own_panels)
    placed: list[dict[str, Any]] = []
    for panel in dashboard.panels:
        if x + panel.width > WIDTH:
            x, y = 0, y + HEIGHT
        place = {"x": x, "y": y, "w": panel.width, "h": HEIGHT}
        placed.append(_panel(panel, place))
        x += panel.width
    return placed


def _panel(panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "title": panel.title,
        "type": panel.kind,
        "datasource": _PROMETHEUS,
        "gridPos": dict(place),
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }

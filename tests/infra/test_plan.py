from pathlib import Path

import pytest

from infra.__main__ import with_free_ports
from infra.plan import (
    PlanError,
    backoff_after_exit,
    build_plan,
    environment_of,
    environment_of_ensure,
    summary,
)
from infra.ports import is_free

ADDRESSES = {"nats_url": "nats://n", "mongodb_uri": "mongodb://m"}


def test_nothing_given_means_the_documented_ports_and_our_own_servers() -> None:
    plan = build_plan({})
    assert plan.ports == {
        "transport": 8000,
        "metrics": 8001,
        "orchestrator": 8002,
        "persistence": 8003,
    }
    assert (plan.nats_url, plan.nats_port, plan.mongodb_uri, plan.mongo_port) == (
        None,
        4222,
        None,
        0,
    )
    assert plan.data == Path(".data")
    assert plan.address == "http://127.0.0.1:8000/"


def test_port_moves_all_four_and_a_services_own_variable_moves_one() -> None:
    plan = build_plan({"PORT": "9000", "METRICS_PORT": "9100"})
    assert plan.ports == {
        "transport": 9000,
        "metrics": 9100,
        "orchestrator": 9002,
        "persistence": 9003,
    }


def test_port_0_takes_free_ports_for_what_has_none_of_its_own() -> None:
    environ = with_free_ports({"PORT": "0", "NATS_PORT": "0", "METRICS_PORT": "9100"})
    plan = build_plan(environ)
    assert plan.ports["metrics"] == 9100
    chosen = [plan.nats_port, *(port for name, port in plan.ports.items() if name != "metrics")]
    assert len(set(chosen)) == 4
    assert all(is_free(port) for port in chosen)


def test_ports_that_are_given_stay() -> None:
    given = {"PORT": "9000", "NATS_PORT": "4223"}
    assert with_free_ports(given) == given
    assert with_free_ports({}) == {}


@pytest.mark.parametrize("given", ["0", "x", "-1", "65536", "8000.0", "٣"])
def test_a_port_that_is_none_is_refused_by_its_variable(given: str) -> None:
    with pytest.raises(PlanError, match="METRICS_PORT"):
        build_plan({"METRICS_PORT": given})


def test_two_on_one_port_are_refused_by_both_variables() -> None:
    with pytest.raises(PlanError, match="ORCHESTRATOR_PORT or NATS_PORT"):
        build_plan({"ORCHESTRATOR_PORT": "4222"})


def test_servers_that_are_given_need_no_port_of_ours() -> None:
    plan = build_plan({"NATS_URL": "nats://far", "MONGODB_URI": "mongodb://far", "MONGO_PORT": "1"})
    assert [one.variable for one in plan.listeners()] == [
        "PORT",
        "METRICS_PORT",
        "ORCHESTRATOR_PORT",
        "PERSISTENCE_PORT",
    ]


@pytest.mark.parametrize(
    "key",
    ["OPENAI_API_KEY", "MISTRAL_API_KEY", "XAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY"],
)
def test_a_model_key_goes_to_the_orchestrator_alone(key: str) -> None:
    environ = {key: "secret", "OPENAI_BASE_URL": "u", "PATH": "p"}
    plan = build_plan(environ)
    told = {name: environment_of(name, plan, environ, **ADDRESSES) for name in plan.ports}
    assert [name for name, one in told.items() if key in one] == ["orchestrator"]
    assert all(one["PATH"] == "p" for one in told.values())


def test_the_database_goes_to_persistence_alone() -> None:
    environ = {"MONGODB_URI": "mongodb://user:pass@far"}
    plan = build_plan(environ)
    told = {name: environment_of(name, plan, environ, **ADDRESSES) for name in plan.ports}
    assert [name for name, one in told.items() if "MONGODB_URI" in one] == ["persistence"]


def test_what_opens_nats_goes_to_all_and_what_opens_mongodb_to_persistence() -> None:
    nats = ("USER", "PASSWORD", "NKEY_SEED_FILE", "CREDENTIALS_FILE", "CA_FILE", "INBOX_PREFIX")
    mongodb = ("PASSWORD_FILE", "CA_FILE", "CERT_KEY_FILE", "WAIT_SECONDS")
    environ = {f"NATS_{name}": "x" for name in nats} | {f"MONGODB_{name}": "x" for name in mongodb}
    plan = build_plan({"NATS_URL": "nats://far", "MONGODB_URI": "mongodb://far"})
    told = {name: environment_of(name, plan, environ, **ADDRESSES) for name in plan.ports}
    for service, one in told.items():
        seen = {name for name in environ if name in one}
        expected = {name for name in environ if name.startswith("NATS_")}
        assert seen == (set(environ) if service == "persistence" else expected)


def test_credentials_of_other_servers_do_not_go_to_the_embedded_ones() -> None:
    environ = {"NATS_USER": "x", "NATS_PASSWORD_FILE": "x", "MONGODB_PASSWORD_FILE": "x"}
    plan = build_plan(environ)
    for name in plan.ports:
        assert not environ.keys() & environment_of(name, plan, environ, **ADDRESSES)


def test_the_token_of_the_numbers_goes_to_metrics_alone() -> None:
    environ = {"METRICS_TOKEN": "secret"}
    plan = build_plan(environ)
    told = {name: environment_of(name, plan, environ, **ADDRESSES) for name in plan.ports}
    assert [name for name, one in told.items() if "METRICS_TOKEN" in one] == ["metrics"]


def test_every_service_is_told_its_port_and_the_bus() -> None:
    plan = build_plan({"PORT": "9000"})
    told = environment_of("transport", plan, {}, **ADDRESSES)
    assert told["TRANSPORT_PORT"] == "9000"
    assert told["NATS_URL"] == "nats://n"


def test_only_the_program_before_the_services_makes_streams() -> None:
    environ = {"OPENAI_API_KEY": "secret", "STREAM_REPLICAS": "3", "ENSURE_STREAMS": "true"}
    plan = build_plan(environ)
    for name in plan.ports:
        assert environment_of(name, plan, environ, **ADDRESSES)["ENSURE_STREAMS"] == "false"
    told = environment_of_ensure(build_plan(environ), environ, nats_url="nats://n")
    assert told == {"STREAM_REPLICAS": "3", "ENSURE_STREAMS": "true", "NATS_URL": "nats://n"}
    assert plan.ensure_streams
    assert not build_plan({"ENSURE_STREAMS": "false"}).ensure_streams


@pytest.mark.parametrize("given", ["always", "500ms", "10s", "2m", "1h"])
def test_how_often_nats_syncs_can_be_chosen(given: str) -> None:
    assert build_plan({"NATS_SYNC_INTERVAL": given}).nats_sync_interval == given
    assert build_plan({}).nats_sync_interval == "10s"


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        *(("NATS_SYNC_INTERVAL", wrong) for wrong in ("never", "0s", "10", "10s}", "\u0661s")),
        ("ENSURE_STREAMS", "maybe"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_by_its_variable(variable: str, given: str) -> None:
    with pytest.raises(PlanError, match=variable):
        build_plan({variable: given})


def test_pauses_grow_to_a_bound_and_a_steady_life_starts_them_anew() -> None:
    deaths, pauses = 0, []
    for _ in range(20):
        deaths, pause = backoff_after_exit(deaths, lived=0.1)
        pauses.append(pause)
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == max(pauses) == 15.0
    assert backoff_after_exit(deaths, lived=60.0) == (1, 0.25)


def test_a_provider_without_a_key_is_no_demo_model() -> None:
    assert build_plan({"DEFAULT_LLM_PROVIDER": "ollama"}).real_model
    assert not build_plan({"DEFAULT_LLM_PROVIDER": "openai"}).real_model


def test_the_summary_shows_no_password_and_names_the_demo_model() -> None:
    given = {"NATS_URL": "nats://u:secret@far", "MONGODB_URI": "mongodb://u:secret@far"}
    plan = build_plan(given)
    told = summary(plan, nats_url=given["NATS_URL"], mongodb_uri=given["MONGODB_URI"])
    assert "secret" not in told
    assert "demo model" in told
    assert "http://127.0.0.1:8000/" in told

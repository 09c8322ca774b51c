"""compose.yaml is valid, starts what `make images` builds, and lets nothing out of its place."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from compose_pydantic import ComposeSpecification  # type: ignore[import-untyped]
from pydantic import ValidationError

from infra.compose.__main__ import write_credentials
from infra.images.plan import image_name
from infra.plan import SERVICES
from infra.servers import find_nats_server
from infra.stack import ROOT
from services.chassis.settings import Settings as ChassisSettings
from services.metrics.settings import Settings as MetricsSettings
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.persistence.settings import Settings as PersistenceSettings
from services.transport.settings import Settings as TransportSettings

SETTINGS: dict[str, type[ChassisSettings]] = {
    "transport": TransportSettings,
    "orchestrator": OrchestratorSettings,
    "persistence": PersistenceSettings,
    "metrics": MetricsSettings,
    "streams": ChassisSettings,
}
OF_THE_PROVIDER = {"OPENAI_API_KEY", "OPENAI_BASE_URL"}


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return read


@pytest.fixture
def services(page: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = page["services"]
    return found


def test_it_is_valid_by_the_specification(page: dict[str, Any]) -> None:
    page = {name: part for name, part in page.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(page)
    page_with_a_mistake = {**page, "services": {"nats": {"image": "nats", "read-only": True}}}
    with pytest.raises(ValidationError):
        ComposeSpecification.model_validate(page_with_a_mistake)


def test_it_starts_the_images_that_make_images_builds(services: dict[str, Any]) -> None:
    assert {name: services[name]["image"] for name in SERVICES} == {
        name: image_name(name) for name in SERVICES
    }
    assert services["streams"]["image"] == image_name("orchestrator")
    assert set(services) == {*SETTINGS, "nats", "mongodb"}


def test_every_variable_is_a_setting_and_all_together_are_accepted(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings in SETTINGS.items():
        given = services[name]["environment"]
        fields = {one.upper() for one in settings.model_fields}
        assert set(given) <= fields | OF_THE_PROVIDER | {"WORKFLOWS_PATH"}
        with monkeypatch.context() as patch:
            for variable, value in given.items():
                patch.setenv(variable, value)
            assert settings().model_dump()["nats_nkey_seed_file"] == Path(
                f"/run/secrets/nats-{name}"
            )


def test_a_service_has_its_own_secret_and_no_other(services: dict[str, Any]) -> None:
    assert {name: services[name].get("secrets") for name in services} == {
        **{name: [f"nats-{name}"] for name in SETTINGS},
        "nats": None,
        "mongodb": None,
    }


def test_nothing_has_privileges(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)


def test_only_this_machine_reaches_it_and_only_by_the_transport(services: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"transport": ["127.0.0.1:${PORT:-8000}:8000"]}


def test_services_meet_only_in_nats(page: dict[str, Any], services: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert {name for name, joined in networks.items() if "mongodb" in joined} == {
        "persistence",
        "mongodb",
    }
    assert {name for name, joined in networks.items() if "outside" in joined} == {
        "transport",
        "orchestrator",
    }
    assert page["networks"]["nats"] == page["networks"]["mongodb"] == {"internal": True}


def test_whatever_stays_up_is_asked_whether_it_works(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name == "streams":
            assert service["healthcheck"] == {"disable": True}
            continue
        assert service["healthcheck"]["test"][0] == "CMD", name
    for name in SERVICES:
        *_, variable, port, path = services[name]["healthcheck"]["test"]
        default = SETTINGS[name].model_fields[f"{name}_port"].default
        assert (variable, port, path) == (f"{name.upper()}_PORT", str(default), "/ready")


def test_every_mounted_file_is_written_or_in_the_repository(
    page: dict[str, Any], tmp_path: Path
) -> None:
    written = {file.name for file in write_credentials(tmp_path / "compose")}
    files = [one["file"] for kind in ("configs", "secrets") for one in page[kind].values()]
    for file in files:
        name = file.removeprefix("./.data/compose/")
        assert name in written if name != file else (ROOT / file).is_file(), file


def test_nats_server_accepts_its_configuration(tmp_path: Path) -> None:
    write_credentials(tmp_path)
    again = [file.read_text() for file in write_credentials(tmp_path)]
    assert again == [file.read_text() for file in write_credentials(tmp_path)], "keys have changed"
    config = tmp_path / "nats-server.conf"
    config.write_text((ROOT / "infra/compose/nats-server.conf").read_text())
    checked = subprocess.run(
        [find_nats_server(), "-t", "-c", config], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert (tmp_path / "transport.nk").stat().st_mode & 0o777 == 0o444
    assert tmp_path.stat().st_mode & 0o777 == 0o700

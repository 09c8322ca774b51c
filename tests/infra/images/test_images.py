"""Images have one service each, run it without a shell as nobody in particular, and say what is in them.

`make images` builds and runs them; that takes minutes.
"""

import importlib
import json
import re
import subprocess
import sys
import sysconfig
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.images.__main__ import main as make_images
from infra.images.build import ImageError
from infra.images.inventory import debian_packages, python_packages
from infra.images.plan import (
    SERVICE_PORTS,
    ImageConfig,
    Labels,
    build_command,
    image_name,
    packages_command,
    sandbox_command,
    tracked_files,
    weaknesses,
)
from infra.images.programs import UnavailableError, require
from infra.images.sandbox import copies, environment_for
from infra.images.sbom import Package, bill_of_materials
from infra.plan import SERVICES, Service
from infra.stack import ROOT
from services.chassis.process.health_check import main as health_check

CONTAINERFILE = ROOT / "infra" / "images" / "Containerfile"
LABELS = Labels(version="0.1.0", revision="c0ffee", created=1_790_000_000)
CONFIG = ImageConfig(
    entrypoint=("python3", "-m", "services.metrics"),
    environment={"PATH": "/usr/bin", "HOME": "/tmp"},
    user="65532:65532",
    folder="/app",
    health_check=("CMD", "true"),
    labels={},
)


def _target(service: Service) -> str:
    """The lines of the Containerfile that one image alone has."""
    text = CONTAINERFILE.read_text().replace("\\\n", " ")
    return text.partition(f"FROM service AS {service}\n")[2].partition("\nFROM")[0]


def test_the_containerfile_is_clean() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_each_image_runs_its_service_and_asks_its_port(service: Service) -> None:
    lines = _target(service)
    field = importlib.import_module(f"services.{service}.settings").Settings.model_fields
    port = field[f"{service}_port"].default
    assert SERVICE_PORTS[service] == port
    assert f"EXPOSE {port}\n" in lines
    assert f'ENTRYPOINT ["python3", "-m", "services.{service}"]' in lines
    asked = json.loads(re.findall(r"CMD (\[.*\])", lines)[0])
    assert asked[3:] == [f"{service.upper()}_PORT", str(port), "/health"]


def test_no_image_needs_a_shell() -> None:
    text = CONTAINERFILE.read_text().replace("\\\n", " ")
    for command in re.findall(r"^(?:RUN|ENTRYPOINT|.* CMD) (.*)$", text, re.MULTILINE):
        assert command.startswith("["), command


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_no_file_of_another_service(service: Service) -> None:
    others = {f"services/{other}" for other in SERVICES if other != service}
    assert not others & set(tracked_files(service))
    assert all((ROOT / name.removeprefix(":(exclude)")).exists() for name in tracked_files(service))


def test_packages_are_wheels_by_their_hashes_for_the_python_of_the_base() -> None:
    command = packages_command("python", "metrics", "aarch64", "there")
    for words in (
        ("--require-hashes",),
        ("--only-binary", ":all:"),
        ("--python-version", "3.11"),
        ("--python-platform", "aarch64-manylinux_2_36"),
        ("--requirement", "requirements/metrics.txt"),
    ):
        assert " ".join(words) in " ".join(command)


def test_a_build_says_from_where_it_comes() -> None:
    command = " ".join(build_command("metrics", "Containerfile", "base", LABELS))
    assert "--build-arg REVISION=c0ffee --build-arg CREATED=2026-09-21T14:13:20Z" in command
    assert "--timestamp 1790000000" in command
    assert "--target metrics --build-arg SERVICE=metrics --build-arg BASE=base" in command


def test_a_service_gets_its_variables_and_the_paths_of_its_mounted_files() -> None:
    given = {
        "NATS_NKEY_SEED_FILE": "/home/ana/seed",
        "NATS_URL": "nats://a",
        "PATH": "/home/ana/bin",
        "LOGS_BASE_DIR": "/home/ana/logs",
    }
    assert environment_for(CONFIG, given) == {
        "NATS_NKEY_SEED_FILE": "/run/secrets/nats_nkey_seed_file",
        "NATS_URL": "nats://a",
    }


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="no files of other users")
def test_copies_of_secrets_are_for_the_user_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr("os.chown", lambda _file, user, group: owners.append((user, group)))
    seed = tmp_path / "seed"
    seed.write_text("SU")
    folder = tmp_path / "copies"
    folder.mkdir()
    [(source, target)] = copies({"SEED_FILE": seed}, folder)
    assert (Path(source).read_text(), target) == ("SU", "/run/secrets/seed_file")
    assert Path(source).stat().st_mode & 0o777 == 0o400
    assert owners == [(65532, 65532)]


def test_a_sandbox_has_a_read_only_root_and_drops_every_capability() -> None:
    command = sandbox_command(CONFIG, "/root-of-image", {"A": "1"}, [("/from", "/to")], ["run"])
    text = " ".join(command)
    assert "--ro-bind /root-of-image /" in text
    assert "--ro-bind /from /to" in text
    assert "--setenv A 1" in text
    assert "--cap-drop ALL" in text
    assert command[-3:] == ["65532", "65532", "run"]
    assert " --bind" not in text


STATUS = """Name:\tpython3
Uid:\t65532\t65532\t65532\t65532
Gid:\t65532\t65532\t65532\t65532
Groups:\t
NSpid:\t4711\t1
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
"""
MOUNTS = """1 0 0:1 / / ro,nosuid - overlay overlay rw
2 1 0:2 / /tmp rw,nosuid - tmpfs tmpfs rw
3 1 0:3 / /proc rw,nosuid - proc proc rw
"""


@pytest.mark.parametrize(
    ("was", "becomes", "found"),
    [
        ("", "", []),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000000001", ["CapEff is 0000000000000001"]),
        ("Groups:\t", "Groups:\t0", ["Groups is 0"]),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", ["it may gain privileges"]),
        ("\t4711\t1", "\t4711", ["it is not process 1"]),
        ("Uid:\t65532", "Uid:\t0", ["Uid is 0\t65532\t65532\t65532"]),
    ],
)
def test_weaknesses_of_a_process_are_named(was: str, becomes: str, found: list[str]) -> None:
    assert weaknesses(STATUS.replace(was, becomes), MOUNTS) == found


def test_a_writable_root_is_a_weakness() -> None:
    assert weaknesses(STATUS, MOUNTS.replace("/ / ro", "/ / rw")) == ["/ is writable"]


def test_a_bill_of_materials_is_valid_and_repeatable() -> None:
    packages = [
        Package(kind="pypi", name="Jinja2", version="3", licence="BSD-3-Clause", architecture=""),
        Package(kind="pypi", name="odd_one", version="1", licence="its own", architecture=""),
        Package(kind="deb", name="libc6", version="2.36-9", licence="", architecture="amd64"),
    ]
    bill = bill_of_materials(image_name("metrics"), LABELS, packages)
    assert bill == bill_of_materials(image_name("metrics"), LABELS, packages)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    parts = json.loads(bill)["components"]
    assert {one["purl"] for one in parts} == {
        "pkg:pypi/jinja2@3",
        "pkg:pypi/odd-one@1",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
    }


def test_packages_of_debian_are_found_where_either_kind_of_base_lists_them(tmp_path: Path) -> None:
    (tmp_path / "status.d").mkdir()
    page = "Package: {}\nDescription: of one\n  line\nVersion: 1\nArchitecture: all\n"
    (tmp_path / "status.d" / "a").write_text(page.format("a"))
    (tmp_path / "status").write_text(page.format("b") + "\n" + page.format("c"))
    assert [one["name"] for one in debian_packages(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: MIT", "License: long"], "MIT"),
        (["License: BSD", "Classifier: License :: OSI Approved :: Other"], "BSD"),
        (
            ["License: Copyright\n  of somebody", "Classifier: License :: OSI :: MIT License"],
            "MIT License",
        ),
        ([], ""),
    ],
)
def test_a_licence_is_a_name(lines: list[str], licence: str, tmp_path: Path) -> None:
    folder = tmp_path / "a-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("\n".join(["Name: a", "Version: 1", *lines]))
    [found] = python_packages(str(tmp_path))
    assert found["licence"] == licence


def test_what_is_missing_is_named_as_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(UnavailableError, match="apt-get install bubblewrap buildah"):
        require("bwrap", "buildah")


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_is_that_of_the_page(status: int, code: int) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environ = {"METRICS_PORT": str(server.server_port)}
        assert health_check(["METRICS_PORT", "1", "/health"], environ) == code
        thread.join()


def test_the_health_check_fails_where_nothing_listens() -> None:
    assert health_check(["METRICS_PORT", "1", "/health"], {}) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"), [([], 1, ""), (["--or-skip"], 0, "skipped")]
)
def test_a_machine_that_cannot_is_an_error_or_a_reason(
    arguments: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unavailable(*_: object) -> None:
        raise UnavailableError("there is no buildah")

    monkeypatch.setattr("infra.images.__main__.build_all", unavailable)
    assert make_images(arguments) == code
    told = capsys.readouterr().err
    assert said in told
    assert "there is no buildah" in told


def test_a_defect_is_an_error_also_where_skipping_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ImageError("the build failed")

    monkeypatch.setattr("infra.images.__main__.build_all", broken)
    assert make_images(["--or-skip"]) == 1

"""A real Prometheus scrapes the whole product, and the alerts for what hurts fire, and end."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from docs.generators.prometheus_rule import RULES
from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port
from infra.prometheus import Prometheus
from tests.disks import SmallDisk, small_disk
from tests.promtool import complaints
from tests.system.model_stub import ModelStub, generator_script
from tests.system.product import Product
from tests.system.stage import (
    bus_at,
    chat_key,
    order_start,
    play_to_the_end,
    workflows_with_counted_effects,
)

pytestmark = [pytest.mark.system, pytest.mark.mongo, pytest.mark.timeout(300)]

TOKEN = "open sesame"
PATIENCE_SECONDS = 90.0
EVERY = "1s"


class Alerts:
    """A Prometheus with our rules, of which each alert fires at the first evaluation."""

    def __init__(self, programs: Prometheus, folder: Path, product: Product) -> None:
        self.address = f"{LOOPBACK}:{free_port()}"
        folder.mkdir()
        rules = yaml.safe_load(RULES.read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["for"] = "0s"
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(_configuration(product)))
        self.child = Child(
            "prometheus",
            [
                str(programs.server),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
            ],
            folder / "prometheus.log",
        )

    async def firing(self, name: str, **labels: str) -> bool:
        """Whether an alert fires that has these labels."""
        async with httpx.AsyncClient(base_url=f"http://{self.address}", timeout=20) as client:
            found = (await client.get("/api/v1/alerts")).json()["data"]["alerts"]
        wanted = {"alertname": name, **labels}.items()
        return any(one["state"] == "firing" and wanted <= one["labels"].items() for one in found)

    async def until(self, name: str, *, fires: bool = True, **labels: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.firing(name, **labels) is not fires:  # noqa: ASYNC110  a page sets no event
                await asyncio.sleep(0.2)


def _configuration(product: Product) -> dict[str, Any]:
    own = [f"{LOOPBACK}:{port}" for port in product.ports.values()]
    log: dict[str, Any] = {
        "job_name": "mozaiks-log",
        "metrics_path": "/metrics/prometheus",
        "authorization": {"credentials": TOKEN},
        # By the transport's port, too: the numbers are the same, and count once.
        "static_configs": [
            {"targets": [f"{LOOPBACK}:{product.ports[name]}" for name in ("metrics", "transport")]}
        ],
    }
    return {
        "global": {
            "scrape_interval": EVERY,
            "scrape_timeout": EVERY,
            "evaluation_interval": EVERY,
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": "mozaiks", "static_configs": [{"targets": own}]},
            log,
        ],
    }


@contextmanager
def watched(programs: Prometheus, folder: Path, product: Product) -> Iterator[Alerts]:
    alerts = Alerts(programs, folder, product)
    port = int(alerts.address.rpartition(":")[2])
    alerts.child.start()
    try:
        alerts.child.wait_until(lambda: answers(port), 60)
        yield alerts
    finally:
        alerts.child.stop(20)


@pytest.fixture
def model() -> Iterator[ModelStub]:
    stub = ModelStub(generator_script)
    stub.start()
    yield stub
    stub.stop()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "data" / "nats", 96) as found:
        yield found


@pytest.fixture
def product(tmp_path: Path, disk: SmallDisk, model: ModelStub) -> Iterator[Product]:
    started = Product(
        tmp_path,
        OPENAI_API_KEY="sk-not-a-key",
        OPENAI_BASE_URL=model.base_url("all"),
        DEFAULT_LLM_MODEL="stub-model",
        WORKFLOWS_PATH=str(workflows_with_counted_effects(tmp_path)),
        SIDE_EFFECTS=str(tmp_path / "effects"),
        METRICS_TOKEN=TOKEN,
        METRICS_STALLED_SECONDS="2",
    )
    started.start()
    try:
        yield started
    finally:
        disk.free()
        started.stop()


async def test_a_stalled_chat_a_deaf_transport_and_a_full_disk_fire_their_alerts(
    prometheus: Prometheus, product: Product, disk: SmallDisk, model: ModelStub, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def hold(_chat: str, _chunk: int) -> None:
        go_on.wait(280)

    model.hold = hold
    transport = f"{LOOPBACK}:{product.ports['transport']}"
    key = chat_key("stalled")
    with watched(prometheus, tmp_path / "prometheus", product) as alerts:
        try:
            async with bus_at(product.settings) as gateway:
                await order_start(gateway, key)
                await alerts.until("MozaiksStalledChats", app=key.app, workflow="Generator")
                await check_pages(prometheus, product)

                product.send_signal("nats-server", signal.SIGSTOP)
                try:
                    await alerts.until("MozaiksDeaf", instance=transport)
                finally:
                    product.send_signal("nats-server", signal.SIGCONT)

                disk.fill()
                go_on.set()  # what the model says now cannot be stored
                await alerts.until("MozaiksDiskFull", stream="EVENTS")
                disk.free()
                await asyncio.to_thread(product.wait_until_whole)
                await play_to_the_end(gateway, key)
                await alerts.until("MozaiksDiskFull", fires=False)
                await alerts.until("MozaiksStalledChats", fires=False)
        finally:
            go_on.set()
    assert not product.violations


async def check_pages(programs: Prometheus, product: Product) -> None:
    """Prometheus has no complaint about a page, and without the token none names the tenant."""
    log = "/metrics/prometheus"
    async with httpx.AsyncClient(timeout=20) as client:
        for name, port in product.ports.items():
            address = f"http://{LOOPBACK}:{port}"
            paths = ["/metrics", *([log] if name in ("metrics", "transport") else [])]
            for path in paths:
                open_to_all = await client.get(f"{address}{path}")
                assert open_to_all.status_code == (401 if path == log else 200)
                assert "acme.corp" not in open_to_all.text
                headers = {"authorization": f"Bearer {TOKEN}"}
                page = (await client.get(f"{address}{path}", headers=headers)).content
                assert (b"acme.corp" in page) is (path == log)
                said = await asyncio.to_thread(complaints, programs, page)
                assert not said, (name, path, said)

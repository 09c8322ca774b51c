"""The product with the lines of the demo model, for all tests that leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.system.product import Product, running
from tests.system.trace_receiver import TraceReceiver, receiving


@pytest.fixture(scope="session")
def trace_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceReceiver]:
    """Gets the spans of the demo product."""
    with receiving(tmp_path_factory.mktemp("traces")) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def started_demo_product(
    tmp_path_factory: pytest.TempPathFactory, trace_receiver: TraceReceiver
) -> Iterator[Product]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": trace_receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with running(tmp_path_factory.mktemp("demo"), **environment) as started:
        yield started


@pytest.fixture
def demo_product(started_demo_product: Product) -> Product:
    """Shared by the tests of the group "product": to start one takes longer than most of them."""
    started_demo_product.ensure_whole()
    return started_demo_product

"""The product with the lines of the demo model, for all tests that leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.system.product import Product, running


@pytest.fixture(scope="session")
def started_demo_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running(tmp_path_factory.mktemp("demo")) as started:
        yield started


@pytest.fixture
def demo_product(started_demo_product: Product) -> Product:
    """Shared by the tests of the group "product": to start one takes longer than most of them."""
    started_demo_product.ensure_whole()
    return started_demo_product

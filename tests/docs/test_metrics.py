from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from docs.generators.metrics import documented, registries
from infra.prometheus import Prometheus
from tests.promtool import complaints

TENANT = {"app", "app_id", "workflow"}
PERSON = {"chat", "chat_id", "user", "user_id"}


@pytest.fixture(scope="module")
def built() -> Mapping[str, CollectorRegistry]:
    return registries()


def test_prometheus_has_no_complaint_about_a_page_of_any_service(
    built: Mapping[str, CollectorRegistry], prometheus: Prometheus
) -> None:
    for service, registry in built.items():
        assert not complaints(prometheus, generate_latest(registry)), service


def test_no_metric_of_a_process_names_a_tenant_and_none_names_a_person(
    built: Mapping[str, CollectorRegistry],
) -> None:
    for service, registry in built.items():
        named = {label for family in documented(registry) for label in family.labels}
        assert not named & (PERSON if service == "log" else PERSON | TENANT), service


def test_every_metric_says_what_it_means(built: Mapping[str, CollectorRegistry]) -> None:
    for registry in built.values():
        for family in documented(registry):
            assert len(family.meaning) > 8, family

import pytest

from benchmarks import subjects
from infra.servers import NatsServer

pytestmark = [pytest.mark.broker]


async def test_the_memory_of_subjects_is_measured_beside_that_of_messages(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "REPETITIONS", 1)
    figures = await subjects.measure(nats, count=1500)
    assert [figure.unit for figure in figures] == ["bytes", "bytes"]
    assert all(figure.median_floor for figure in figures)

import json
import logging
from collections.abc import Iterator

import pytest

from services.chassis.logs.configuration import configure


@pytest.fixture
def own_logging() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    kept = (root.level, root.handlers[:])
    yield root
    root.setLevel(kept[0])
    root.handlers[:] = kept[1]


@pytest.mark.usefixtures("own_logging")
def test_every_logger_of_the_process_writes_to_standard_error_in_one_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("tiny", "INFO", as_json=True)
    logging.getLogger("a.b").info("heard", extra={"chat": "c1"})
    logging.getLogger("a.b").debug("too quiet")
    logging.getLogger("httpx").info("too chatty")
    written = capsys.readouterr()
    [line] = written.err.splitlines()
    assert (json.loads(line)["msg"], json.loads(line)["chat"]) == ("heard", "c1")
    assert written.out == ""

"""What a service imports before it is needed: each library takes memory in every process."""

import subprocess
import sys

import pytest

LATER = {
    "metrics": {"cryptography", "httpx", "rich"},
    "orchestrator": {"cryptography", "mcp", "openai", "rich"},
    "persistence": {"cryptography", "httpx", "rich"},
    "transport": {"cryptography", "httpx", "jwt", "rich"},
}
PROGRAM = """
import sys
import services.chassis.process.server, services.{service}.app
print(sorted({later} & sys.modules.keys()))
"""


@pytest.mark.parametrize("service", LATER)
def test_a_service_imports_a_large_library_only_when_it_is_needed(service: str) -> None:
    program = PROGRAM.format(service=service, later=LATER[service])
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "[]\n"

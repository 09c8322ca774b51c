"""What a service imports before it is needed: each library takes memory in every process."""

import subprocess
import sys

import pytest

LATER = {
    "metrics": {"cryptography", "httpx", "opentelemetry.sdk", "rich"},
    "orchestrator": {"cryptography", "mcp", "openai", "opentelemetry.sdk", "rich"},
    "persistence": {"cryptography", "httpx", "opentelemetry.sdk", "rich"},
    "transport": {"cryptography", "httpx", "jwt", "opentelemetry.sdk", "rich"},
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

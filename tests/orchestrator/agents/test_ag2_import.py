"""What the orchestrator imports of AG2."""

import subprocess
import sys

PROGRAM = """
import sys
import services.orchestrator.agents
import services.orchestrator.agents.models.configured
print({"openai", "anthropic", "google.genai", "mcp"} & sys.modules.keys())
import openai, anthropic, google.genai, mcp
import ag2.config.openai, ag2.config.anthropic, ag2.config.gemini
"""


def test_libraries_of_providers_and_of_mcp_are_not_loaded_but_can_be() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "set()\n"

"""The agents of a workflow on AG2, imported without libraries that AG2 imports where it finds them.

AG2 imports the library of every provider that it finds, to offer its configuration. Ours calls
providers by itself, so these libraries would only take memory and time: openai's alone 13 MB.
`mcp` is imported once an agent needs it (tools/mcp_tools.py): it takes a quarter of the start.
With `rich` httpx would import its command line, with `opentelemetry.sdk` AG2 its own middleware.
"""

import sys

_LIBRARIES = (
    *("openai", "anthropic", "aiobotocore", "dashscope", "google.genai", "mistralai", "ollama"),
    *("typesafe_sdk", "xai_sdk", "zai", "mcp", "rich", "opentelemetry.sdk"),
)

_hidden = [name for name in _LIBRARIES if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]  # none: cannot be imported

import ag2.config  # noqa: E402, F401

for _name in _hidden:  # our own code, or that of a tool, may import them
    del sys.modules[_name]

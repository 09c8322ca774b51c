"""The whole product for one command: embedded servers and all services, on free ports, in a temporary folder.

It is `make run` as a child process. All of it ends with the command, and nothing of it is kept.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

ROOT = Path(__file__).resolve().parents[3]
STOP_SECONDS = 40.0
_ADDRESS = "Mozaiks Runtime: "
"""How `make run` begins the line with its address, once every service is ready."""
_KEYS = ("OPENAI_API_KEY", "DEFAULT_LLM_PROVIDER")
_OWN_SERVERS = ("NATS_URL", "MONGODB_URI", "ENSURE_STREAMS")
_PORTS = ("ORCHESTRATOR_PORT", "TRANSPORT_PORT", "PERSISTENCE_PORT", "METRICS_PORT", "MONGO_PORT")


class EmbeddedProductError(Exception):
    """The product did not start; the message is what it printed."""


class ModelChoiceError(Exception):
    """The model cannot be chosen so; the message names the option."""


def embedded_environment(
    environment: Mapping[str, str], workflows: Path, *, model: str | None, demo: bool
) -> dict[str, str]:
    """The environment of the product: that of the command, but for servers, ports and the model.

    Raises ModelChoiceError.
    """
    foreign = (*_OWN_SERVERS, *_PORTS, *(_KEYS if demo else ()))
    chosen = {name: value for name, value in environment.items() if name not in foreign}
    chosen |= {"PORT": "0", "NATS_PORT": "0", "WORKFLOWS_PATH": str(workflows)}
    chosen["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), chosen.get("PYTHONPATH"))))
    if model is None:
        return chosen
    if demo:
        raise ModelChoiceError("--model, --demo: only one of them can be given")
    if not any(environment.get(name) for name in _KEYS):
        raise ModelChoiceError(
            "--model: no provider is configured; set OPENAI_API_KEY, or DEFAULT_LLM_PROVIDER with"
            " the key of that provider"
        )
    return {**chosen, "DEFAULT_LLM_MODEL": model}


@contextmanager
def embedded_product(environment: Mapping[str, str]) -> Iterator[str]:
    """Its address, until the end of the block. Raises EmbeddedProductError."""
    with TemporaryDirectory(prefix="mozaiks-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra"],
            cwd=ROOT,
            env={**environment, "DATA_DIR": folder, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command, which stops it
            preexec_fn=_end_with_parent(),
        )
        try:
            yield _address(process)
        finally:
            _stop(process)


def _address(process: "subprocess.Popen[str]") -> str:
    """Returns once it is ready. Raises EmbeddedProductError."""
    assert process.stdout is not None  # noqa: S101  it is a pipe
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith(_ADDRESS):
            # What it prints from now on must not fill the pipe.
            Thread(target=process.stdout.read, name="printed", daemon=True).start()
            return line.removeprefix(_ADDRESS).strip().rstrip("/")
    raise EmbeddedProductError("".join(printed).strip() or "it ended before it was ready")


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except BaseException:
        if sys.platform == "win32":  # which has no groups of processes
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def _end_with_parent() -> Callable[[], None] | None:
    """What the child runs before its program, so that Linux ends it with the command."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing may be imported after it
    set_parent_death_signal = 1

    def prepare() -> None:
        libc.prctl(set_parent_death_signal, int(signal.SIGTERM))

    return prepare

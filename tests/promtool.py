"""What promtool says about a page of metrics."""

import subprocess

from infra.prometheus import Prometheus


def complaints(programs: Prometheus, page: bytes) -> str:
    """Empty where it has none."""
    checked = subprocess.run(
        [programs.promtool, "check", "metrics"],
        input=page,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    said = checked.stdout.decode()
    return said or ("failed" if checked.returncode else "")

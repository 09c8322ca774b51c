"""The health check of a container: python -m services.chassis.process.health_check VARIABLE DEFAULT PATH

Exit code 0 where the service on this machine answers PATH with 200; its port is that of the VARIABLE.
"""

import http.client
import os
import sys
from collections.abc import Mapping, Sequence

SECONDS = 4.0


def answer_of(port: int, path: str) -> str:
    """Empty where the service answers 200, else what is wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        page = answer.read(1000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from port {port}: {error}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"{path} answers {answer.status}: {page}"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """`arguments`: the variable with the port, the port without it, and the page to ask for."""
    variable, default, path = arguments
    if trouble := answer_of(int(environ.get(variable) or default), path):
        print(trouble, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

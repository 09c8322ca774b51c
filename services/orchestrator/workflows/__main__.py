"""Write the JSON Schemas of a workflow's sections: python -m services.orchestrator.workflows [--check]"""

import argparse
import sys

from services.orchestrator.workflows import json_schemas


def main(arguments: list[str]) -> int:
    """Returns 1 where `--check` finds a file that differs, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m services.orchestrator.workflows")
    parser.add_argument("--check", action="store_true", help="only compare")
    if not parser.parse_args(arguments).check:
        json_schemas.write()
        return 0
    stale = json_schemas.stale_files()
    for name in stale:
        print(f"services/orchestrator/workflows/schemas/{name} differs: run `make schemas`")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

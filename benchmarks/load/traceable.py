"""Run a service so that a profiler may attach to it: python -m benchmarks.load.traceable MODULE

Where the kernel's Yama module limits ptrace, only a parent may attach. The service allows everyone, by
itself, before it starts.
"""

import ctypes
import runpy
import sys

_PR_SET_PTRACER = 0x59616D61
_ANY = -1


def main() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_long(_ANY), 0, 0, 0)
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

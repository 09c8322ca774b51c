"""Every module can be imported where Unix's own modules are missing, and where no signal can be handled."""

import subprocess
import sys

from infra.stack import ROOT

IMPORT_EVERYTHING = r"""
import builtins, importlib, os, pkgutil, signal, sys, types

OURS = ("contracts", "mozaiks_client", "services", "workflows", "infra")
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
UNIX_NAMES = {
    "os": {
        "WNOHANG", "WSTOPPED", "fork", "getegid", "geteuid", "getgid", "getpgid", "getuid", "killpg",
        "mkfifo", "sched_getaffinity", "setsid", "setuid", "statvfs", "sysconf", "uname", "waitid",
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGSTOP", "SIGUSR1", "SIGUSR2"},
}

def refuse(*_):
    raise ValueError("a signal handler is set by an import")

def as_elsewhere(module):
    copy = types.ModuleType(module.__name__)
    left_out = UNIX_NAMES[module.__name__]
    copy.__dict__.update({name: value for name, value in vars(module).items() if name not in left_out})
    if module is signal:
        copy.signal = refuse
    return copy

ELSEWHERE = {"os": as_elsewhere(os), "signal": as_elsewhere(signal)}
really_import = builtins.__import__

def import_elsewhere(name, globals=None, locals=None, fromlist=(), level=0):
    # Libraries find out themselves where they are; only what we import is another machine's.
    if str((globals or {}).get("__name__", "")).partition(".")[0] in OURS:
        if name in UNIX_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in ELSEWHERE:
            return ELSEWHERE[name]
    return really_import(name, globals, locals, fromlist, level)

builtins.__import__ = import_elsewhere
count = 0
for package in OURS:
    found = [package, *(
        one.name for one in pkgutil.walk_packages([package], f"{package}.")
        if package != "workflows" and ".tests." not in one.name
    )]
    for name in found:
        try:
            importlib.import_module(name)
        except Exception as error:
            sys.exit(f"{name} cannot be imported: {type(error).__name__}: {error}")
        count += 1
print(count)
"""


def test_every_module_can_be_imported_without_what_only_unix_has() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_EVERYTHING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 500

import os
import socket
import sys

import pytest

from infra.ports import free_port, holder, is_free, listening_inodes

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1F40 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1
"""


def test_only_the_listener_of_a_port_holds_it() -> None:
    assert listening_inodes(TABLE, 8000) == {"111"}
    assert listening_inodes(TABLE, 8002) == set()


def test_a_free_port_can_be_bound() -> None:
    assert is_free(free_port())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")
def test_the_holder_of_a_taken_port_is_named_by_pid_and_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        assert not is_free(port)
        assert holder(port).startswith(f"pid {os.getpid()} (")
    assert is_free(port)

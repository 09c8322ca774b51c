"""Memory of a group of processes."""

import pytest

from benchmarks.process_memory import Memory, read_memory, shares

SMAPS = """\
55d0c0000000-55d0c0400000 r-xp 00001000 08:01 42                         /usr/bin/python3.11
Size:               4096 kB
Rss:                2048 kB
Pss:                 512 kB
Anonymous:             0 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Rss:                3072 kB
Anonymous:          3072 kB
7f0000800000-7f0000900000 rw-p 00002000 08:01 43                         /usr/lib/libc.so.6
Rss:                1024 kB
Anonymous:           512 kB
VmFlags: rd wr mr
"""
LIBRARY = ("/usr/lib/libc.so.6", "00002000")


def test_what_is_written_is_the_processes_own_and_the_rest_is_the_files() -> None:
    memory = read_memory(SMAPS)
    assert memory.own == pytest.approx(3.5)
    assert memory.files == {
        ("/usr/bin/python3.11", "00001000"): pytest.approx(2),
        LIBRARY: pytest.approx(0.5),
    }
    assert memory.resident == pytest.approx(6)


def test_the_pages_of_a_file_are_shared_by_the_processes_that_map_it() -> None:
    one = Memory(10, {LIBRARY: 4})
    two = Memory(20, {LIBRARY: 4, ("/usr/bin/mongod", "0"): 30})
    assert shares({"one": one, "two": two}) == {"one": 12, "two": 52}

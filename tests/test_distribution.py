"""The tests that are distributed by name are there."""

from pathlib import Path

from tests.distribution import GROUPS, LONGEST, group_of

ROOT = Path(__file__).parents[1]


def test_every_file_that_is_distributed_by_name_exists() -> None:
    grouped = [file for files in GROUPS.values() for file in files]
    for file in (*grouped, *(one for one in LONGEST if one not in GROUPS)):
        assert (ROOT / file).is_file(), file


def test_tests_of_one_group_are_kept_together_and_those_of_another_file_are_not() -> None:
    first, second, *_ = GROUPS["product"]
    assert group_of(f"{first}::test_one") == group_of(f"{second}::test_two[a::b]") == "product"
    assert group_of("tests/any/test_file.py::test_one[1]") == "tests/any/test_file.py"

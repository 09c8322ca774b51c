"""What `make platforms` prints."""

from infra.platforms import missing_wheel, rows
from infra.wheels import install_command


def test_a_package_without_wheel_is_named() -> None:
    error = (
        "error: No solution found when resolving dependencies\n"
        "  cause: Because cryptography==50.0.2 has no usable wheels and you require cryptography==50.0.2"
    )
    assert missing_wheel(error) == "no wheel of cryptography==50.0.2"
    assert missing_wheel("error: no network\n") == "error: no network"


def test_a_row_has_the_versions_of_python_and_what_is_missing_for_the_others() -> None:
    found = {("Linux ARM", "dev"): {"3.11": "", "3.12": "", "3.13": "no wheel of a==1"}}
    assert rows(found) == ["Linux ARM            dev           Python 3.11, 3.12; no wheel of a==1"]


def test_nothing_is_built_from_source() -> None:
    command = install_command("r.txt", python="p", version="3.12", platform="x", target="t")
    assert command[command.index("--only-binary") + 1] == ":all:"

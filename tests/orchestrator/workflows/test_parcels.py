"""The same files have the same name, other files another, and nothing passes for what it is not."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from services.orchestrator.workflows.loading import Broken, Loaded, load
from services.orchestrator.workflows.spec import Version
from services.orchestrator.workflows.versions import (
    MAX_BYTES,
    ForeignParcelError,
    Parcel,
    code_of,
    unpacked,
)
from tests.orchestrator.shop import priced, prompted, shop, write


def version(folder: Path) -> Version:
    found = load(folder)
    assert isinstance(found, Loaded), found
    assert found.workflow.version is not None
    return found.workflow.version


def test_a_parcel_is_the_same_in_whatever_order_its_files_were_found() -> None:
    one = Parcel("Shop", {"a.json": b"1", "b.json": b"2"})
    other = Parcel("Shop", {"b.json": b"2", "a.json": b"1"})
    assert one.packed() == other.packed()
    assert one.digest == other.digest == sha256(one.packed()).hexdigest()


def test_what_is_in_a_parcel_and_where_makes_its_name() -> None:
    parcels = [
        Parcel("Shop", {"a.json": b"1"}),
        Parcel("Shop", {"a.json": b"2"}),
        Parcel("Shop", {"b.json": b"1"}),
        Parcel("Till", {"a.json": b"1"}),
        Parcel("Shop", {}),
    ]
    assert len({parcel.digest for parcel in parcels}) == len(parcels)


def test_a_parcel_comes_out_as_it_went_in() -> None:
    parcel = Parcel("Läden \udcff", {"tools/till.py": b"\x00\xff", "empty.json": b""})
    assert unpacked(parcel.packed(), parcel.digest) == parcel


FOREIGN = {
    "other bytes": (b"{}", "0" * 64),
    "no JSON": (b"{", ""),
    "JSON of another shape": (b"[]", ""),
    "no folder": (b'{"files": {}}', ""),
    "a file that is no text": (b'{"files": {"a": 1}, "folder": "Shop"}', ""),
    "a path that leads out": (b'{"files": {"../a": ""}, "folder": "Shop"}', ""),
    "a path from the root": (b'{"files": {"/a": ""}, "folder": "Shop"}', ""),
    "a folder above": (b'{"files": {}, "folder": ".."}', ""),
    "a folder without a name": (b'{"files": {}, "folder": ""}', ""),
}


@pytest.mark.parametrize(("data", "digest"), FOREIGN.values(), ids=FOREIGN.keys())
def test_bytes_that_are_no_parcel_are_refused(data: bytes, digest: str) -> None:
    with pytest.raises(ForeignParcelError):
        unpacked(data, digest or sha256(data).hexdigest())


def test_a_version_tells_manifests_and_code_apart(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    before = version(folder)
    priced(folder, 3)
    recoded = version(folder)
    prompted(folder, "You sell cake.")
    reworded = version(folder)
    assert (recoded.manifests, recoded.tools != before.tools) == (before.manifests, True)
    assert (reworded.manifests != before.manifests, reworded.tools) == (True, recoded.tools)


def test_a_version_is_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    assert version(shop(tmp_path / "here")) == version(shop(tmp_path / "there"))


def test_files_that_nobody_reads_make_no_version(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    before = version(folder)
    (folder / "README.md").write_text("About the shop.")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "till.py").write_text("")
    assert version(folder) == before


def test_a_file_that_a_variable_is_read_from_is_of_the_version(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    (folder / "data").mkdir()
    (folder / "data" / "menu.txt").write_text("bread")
    source = {"type": "file", "path": "data/../data/menu.txt"}
    write(folder, "context_variables.json", {"definitions": {"menu": {"source": source}}})
    before = version(folder)
    (folder / "data" / "menu.txt").write_text("cake")
    assert version(folder).manifests != before.manifests
    found = load(folder)
    assert isinstance(found, Loaded)
    assert found.manifests.files["data/menu.txt"] == b"cake"


def test_what_the_environment_holds_is_of_no_version_and_in_no_parcel(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    source = {"type": "config", "env_var": "SHOP_KEY", "required": True}
    write(folder, "context_variables.json", {"definitions": {"key": {"source": source}}})
    found = [load(folder, {"SHOP_KEY": key}) for key in ("sk-one", "sk-two")]
    one, two = [each for each in found if isinstance(each, Loaded)]
    assert one.workflow.version == two.workflow.version
    assert b"sk-one" not in json.dumps(list(map(str, one.manifests.files.values()))).encode()


def test_what_was_laid_out_again_loads_as_the_same_version(tmp_path: Path) -> None:
    first = load(shop(tmp_path / "here"))
    assert isinstance(first, Loaded)
    first.code.parcel.lay_out(tmp_path / "there")
    again = load(first.manifests.lay_out(tmp_path / "there"))
    assert isinstance(again, Loaded)
    assert again.workflow == first.workflow
    assert again.workflow.version == first.workflow.version


def test_a_folder_with_too_much_code_is_refused(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    with (folder / "large.py").open("wb") as file:
        file.truncate(MAX_BYTES)
    broken = load(folder)
    assert isinstance(broken, Broken)
    told = f"Shop: its manifests and Python files exceed {MAX_BYTES} bytes"
    assert broken.problems == (told,)


def test_code_is_what_lies_in_the_folder_and_no_link_leads_out_of_it(tmp_path: Path) -> None:
    folder = shop(tmp_path)
    (tmp_path / "outside.py").write_text("SECRET = 1\n")
    (folder / "outside.py").symlink_to(tmp_path / "outside.py")
    (folder / "circle.py").symlink_to(folder / "circle.py")
    (folder / "inside.py").symlink_to(folder / "tools" / "till.py")
    (folder / "round").symlink_to(folder)
    assert sorted(code_of(folder).files) == ["inside.py", "tools/pricing.py", "tools/till.py"]

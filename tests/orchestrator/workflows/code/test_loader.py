"""A tool's file imports other files of its folder, and every version has modules of its own."""

import ast
import gc
import sys
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import pytest

from services.orchestrator.workflows.code.bundle import FileBundle
from services.orchestrator.workflows.code.import_rewriter import OwnModules, rewrite_imports
from services.orchestrator.workflows.code.loader import PREFIX, ToolCode, ToolLoadError, tool_code

PRICING = "PRICE = 2\n\ndef price():\n    return PRICE\n"


TILL = PurePath("tools/till.py")


def code(tmp_path: Path, files: Mapping[str, str]) -> ToolCode:
    held = {"tools/pricing.py": PRICING, **files}
    return tool_code(
        tmp_path / "Shop", FileBundle("Shop", {k: v.encode() for k, v in held.items()})
    )


@pytest.fixture
def sold(tmp_path: Path) -> Callable[..., Any]:
    """What the till sells, by its text and the files beside it."""

    def sell(text: str, files: Mapping[str, str] = MappingProxyType({})) -> Any:
        held = code(tmp_path, {str(TILL): text, **files})
        return held.function(TILL, "sell")()

    return sell


IMPORTS = {
    "relative": "from .pricing import price\ndef sell(): return price()\n",
    "relative, the module": "from . import pricing\ndef sell(): return pricing.price()\n",
    "by the folder of all": (
        "from workflows.Shop.tools.pricing import price\ndef sell(): return price()\n"
    ),
    "by the folder of all, the module": (
        "from workflows.Shop.tools import pricing\ndef sell(): return pricing.price()\n"
    ),
    "by the folder of all, renamed": (
        "import workflows.Shop.tools.pricing as p\ndef sell(): return p.price()\n"
    ),
    "beside": "from pricing import price\ndef sell(): return price()\n",
    "beside, the module": "import pricing\ndef sell(): return pricing.price()\n",
    "beside, renamed": "import json, pricing as p\ndef sell(): return p.price()\n",
    "from the folder": "import tools.pricing\ndef sell(): return tools.pricing.price()\n",
    "while it runs": "def sell():\n    import pricing\n    return pricing.price()\n",
}


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS.keys())
def test_a_file_imports_other_files_of_its_folder(sold: Callable[..., Any], text: str) -> None:
    assert sold(text) == 2


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS.keys())
def test_two_versions_share_no_module(tmp_path: Path, text: str) -> None:
    old = code(tmp_path, {str(TILL): text})
    new = code(tmp_path, {str(TILL): text, "tools/pricing.py": PRICING.replace("2", "3")})
    sells = [one.function(TILL, "sell") for one in (old, new)]
    assert [sell() for sell in sells] == [2, 3]


def test_the_same_version_has_the_same_modules(tmp_path: Path) -> None:
    text = "count = []\ndef sell():\n    count.append(1)\n    return len(count)\n"
    one, other = [code(tmp_path, {str(TILL): text}) for _ in range(2)]
    sells = [held.function(TILL, "sell") for held in (one, other)]
    assert [sell() for sell in sells] == [1, 2]


def test_an_installed_package_takes_precedence_over_a_file_of_that_name(
    sold: Callable[..., Any],
) -> None:
    text = "import json\ndef sell(): return json.dumps([1])\n"
    assert sold(text, {"tools/json.py": ""}) == "[1]"


def test_the_tooling_module_is_shared_by_all_workflows(sold: Callable[..., Any]) -> None:
    text = "from workflows.tooling import ToolRuntime\ndef sell(): return ToolRuntime.__module__\n"
    assert sold(text, {"tooling.py": ""}) == "workflows.tooling"


def test_a_package_of_the_folder_can_be_imported(sold: Callable[..., Any]) -> None:
    text = (
        "from shelves import bread\nfrom shelves.cake import CAKE\ndef sell(): return bread, CAKE\n"
    )
    shelves = {"__init__": "from .cake import CAKE\nbread = CAKE - 1\n", "cake": "CAKE = 5\n"}
    files = {f"tools/shelves/{name}.py": source for name, source in shelves.items()}
    assert sold(text, files) == (4, 5)


def test_a_tool_file_may_have_any_name(tmp_path: Path) -> None:
    bundle = FileBundle("My shop", {"till v1.0-b.py": b"def sell(): return __file__\n"})
    held = tool_code(tmp_path / "My shop", bundle)
    place = held.function(PurePath("till v1.0-b.py"), "sell")()
    assert place == str(tmp_path / "My shop" / "till v1.0-b.py")


def test_a_file_knows_its_path(sold: Callable[..., Any], tmp_path: Path) -> None:
    assert sold("def sell(): return __file__\n") == str(tmp_path / "Shop" / TILL)


def test_an_error_names_its_line(sold: Callable[..., Any]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        sold("import pricing\n\ndef sell():\n    return 1 / 0\n")
    last = caught.traceback[-1]
    assert (Path(str(last.path)).name, last.lineno) == ("till.py", 3)


def test_an_error_in_an_imported_file_names_the_importing_tool(sold: Callable[..., Any]) -> None:
    with pytest.raises(ToolLoadError, match=r"till\.py: ZeroDivisionError"):
        sold("from . import pricing\n", {"tools/pricing.py": "1 / 0\n"})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(2)\n", "SystemExit: 2"),
        ("class Own(BaseException): ...\nraise Own('no')\n", "Own: no"),
        ("import pytest\npytest.skip('no', allow_module_level=True)\n", "Skipped: no"),
        ("raise GeneratorExit\n", "GeneratorExit"),
    ],
)
def test_a_file_that_ends_whoever_loads_it_is_an_error_of_its_workflow(
    sold: Callable[..., Any], code: str, message: str
) -> None:
    with pytest.raises(ToolLoadError, match=rf"till\.py: {message}"):
        sold(code)


def test_a_file_outside_the_folder_is_not_loaded(tmp_path: Path) -> None:
    held = code(tmp_path, {"till.py": "def sell(): ...\n"})
    for file in (PurePath("../till.py"), PurePath("/till.py"), PurePath("till")):
        with pytest.raises(ToolLoadError, match="no such Python file"):
            held.function(file, "sell")


def test_modules_of_an_unused_version_are_removed(tmp_path: Path) -> None:
    sell = code(tmp_path, {str(TILL): IMPORTS["relative"]}).function(TILL, "sell")
    package = sell.__module__.partition(".")[0]
    assert package.startswith(PREFIX)
    gc.collect()
    assert [name for name in sys.modules if name.startswith(package)] == []
    assert sell() == 2  # what runs still runs


OWN = OwnModules(
    "p", "Shop", {"p", "p.tools", "p.tools.till", "p.tools.pricing", "p.menu"}, "json".__eq__
)
REWRITTEN = {
    "from pricing import a": "from p.tools.pricing import a",
    "from menu import a": "from p.menu import a",
    "from tools.pricing import a": "from p.tools.pricing import a",
    "import pricing": "import p.tools.pricing as pricing",
    "import pricing as x": "import p.tools.pricing as x",
    "import tools.pricing": "import p.tools.pricing as tools\nimport p.tools as tools",
    "import json, pricing": "import json\nimport p.tools.pricing as pricing",
    "from workflows.Shop import tools": "from p import tools",
    "import workflows.Shop.menu as m": "import p.menu as m",
    "import workflows.Shop.menu": "import workflows.Shop.menu",
    "from workflows.Shopping import a": "from workflows.Shopping import a",
    "from .pricing import a": "from .pricing import a",
    "from elsewhere import a": "from elsewhere import a",
}


@pytest.mark.parametrize(("written", "read"), REWRITTEN.items())
def test_imports_are_rewritten_to_modules_of_one_version(written: str, read: str) -> None:
    assert ast.unparse(rewrite_imports(ast.parse(written), OWN, "p.tools")) == read

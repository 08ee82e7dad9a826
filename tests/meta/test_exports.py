"""What users, type checkers and `dir()` see as the public names is one list, and costs nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import meshnet
import meshnet.crdt
from support.tree import PACKAGE

HEAVY = {"asyncio", "attr", "attrs", "nacl", "ssl", "socket", "uvloop", "click", "rich", "pytun"}


def names_for_type_checkers(folder: str = ".") -> dict[str, tuple[str, str]]:
    """Public name -> (module, name there), from the ``if TYPE_CHECKING`` block."""
    tree = ast.parse((PACKAGE / folder / "__init__.py").read_text(encoding="utf-8"))
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name, "mypy sees only `X as X` as a re-export"
            found[alias.name] = (node.module, alias.name)
    return found


def test_type_checkers_and_users_see_the_same_names() -> None:
    assert set(names_for_type_checkers()) | {"__version__"} == set(meshnet.__all__)
    assert dir(meshnet) == sorted(meshnet.__all__)
    assert len(set(meshnet.__all__)) == len(meshnet.__all__)


@pytest.mark.parametrize(("name", "home"), names_for_type_checkers().items())
def test_a_public_name_is_what_type_checkers_take_it_for(name: str, home: tuple[str, str]) -> None:
    module, attribute = home
    value = getattr(meshnet, name)
    if isinstance(value, ModuleType):
        assert value is importlib.import_module(f"{module}.{attribute}")
    else:
        assert value is getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize(("name", "home"), names_for_type_checkers("crdt").items())
def test_so_is_a_public_name_of_the_replicated_types(name: str, home: tuple[str, str]) -> None:
    module, attribute = home
    assert getattr(meshnet.crdt, name) is getattr(importlib.import_module(module), attribute)


def test_type_checkers_and_users_see_the_same_replicated_types() -> None:
    assert set(names_for_type_checkers("crdt")) == set(meshnet.crdt.__all__)
    assert dir(meshnet.crdt) == sorted(meshnet.crdt.__all__)


@pytest.mark.parametrize("package", [meshnet, meshnet.crdt])
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_import_meshnet_alone_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, meshnet; print(*sorted(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "meshnet" in loaded
    assert loaded & HEAVY == set()
    assert [name for name in done.stdout.split() if name.startswith("meshnet.")] == []

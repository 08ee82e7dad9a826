"""Whoever opens a module, or asks `help()` for a public name, is told what it is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import meshnet
from support.tree import relative, sources


@pytest.mark.parametrize("path", sources("meshnet"), ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert (ast.get_docstring(tree) or "").strip(), f"{relative(path)} has no docstring"


def own_members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The public classes and functions that a module defines itself."""
    for name, value in vars(module).items():
        if (
            not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module.__name__
        ):
            yield f"{module.__name__}.{name}", value


def public_objects() -> Iterator[tuple[str, object]]:
    for name in meshnet.__all__:
        value = getattr(meshnet, name)
        if isinstance(value, ModuleType):
            yield from own_members(value)
        elif inspect.isclass(value) or inspect.isfunction(value):
            yield f"meshnet.{name}", value


def public_methods_of_mesh() -> Iterator[tuple[str, object]]:
    for name, value in vars(meshnet.Mesh).items():
        if not name.startswith("_") and inspect.isfunction(value):
            yield f"meshnet.Mesh.{name}", value


PUBLIC = [*public_objects(), *public_methods_of_mesh()]


@pytest.mark.parametrize("value", [value for _, value in PUBLIC], ids=[name for name, _ in PUBLIC])
def test_every_public_name_is_documented(value: object) -> None:
    # Its own words: a docstring that is inherited describes something else.
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert (own or "").strip()

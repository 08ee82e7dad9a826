"""What a Cluster runs is what a node runs: the kit replaces, wraps and patches none of it."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshnet.aio.mesh
from meshnet.engine import Engine
from meshnet.testing import Scenario
from support.tree import module_name, relative, sources

KIT = sources("meshnet/testing")
PATCHERS = {"setattr", "delattr", "patch", "__setattr__"}


def ours_outside_of_the_kit(module: str) -> bool:
    return module.split(".")[0] == "meshnet" and not module.startswith("meshnet.testing")


@pytest.mark.parametrize("path", KIT, ids=relative)
def test_no_class_of_the_kit_is_derived_from_one_it_tests(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    for _, value in inspect.getmembers(module, inspect.isclass):
        if value.__module__ == module.__name__:
            assert not [
                base for base in value.__mro__ if ours_outside_of_the_kit(base.__module__)
            ], value


def imported_from_outside(tree: ast.AST) -> set[str]:
    """The names by which a module of the kit knows what it tests."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and ours_outside_of_the_kit(node.module or ""):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {(a.asname or a.name).split(".")[0] for a in node.names if "meshnet" in a.name}
    return names


def written_to(tree: ast.AST) -> Iterator[list[str]]:
    """The dotted names that are assigned to or deleted, and not plain variables."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store | ast.Del):
                    yield ast.unparse(part).split(".")


def breaches(source: str) -> list[str]:
    tree = ast.parse(source)
    outside = imported_from_outside(tree)
    found = [
        ".".join(names)
        for names in written_to(tree)
        # Of an imported class or module, or of an engine that somebody holds.
        if names[0] in outside or "engine" in names[:-1]
    ]
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if name in PATCHERS:
            found.append(name)
    return found


@pytest.mark.parametrize("path", KIT, ids=relative)
def test_no_module_of_the_kit_writes_into_what_it_tests(path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "Engine.ping = None",
        "self.engine.ping = None",
        "host.engine.config.life += 1",
        "del Engine.ping",
        "setattr(Engine, 'ping', None)",
        "mock.patch('meshnet.engine.Engine')",
    ],
)
def test_the_rule_finds_what_it_is_there_for(line: str) -> None:
    assert breaches(f"from meshnet.engine import Engine\n{line}")


def parts_of(value: object, seen: set[int]) -> Iterator[object]:
    """An engine, and everything of ours that it is made of."""
    if id(value) in seen or not ours_outside_of_the_kit(type(value).__module__):
        return
    seen.add(id(value))
    yield value
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in {*getattr(value, "__dict__", {}), *slots}:
        inner = getattr(value, name, None)
        for part in inner.values() if isinstance(inner, dict) else [inner]:
            yield from parts_of(part, seen)


def test_the_engines_of_a_cluster_are_whole_and_of_the_class_that_a_node_composes() -> None:
    scenario = Scenario(1, peers=4, faults=2)
    scenario.run()
    for host in scenario.cluster.hosts:
        assert type(host.engine) is Engine
        parts = list(parts_of(host.engine, set()))
        assert len({type(part).__module__ for part in parts}) > 8
        for part in parts:
            kind = type(part)
            hidden = [
                name
                for name in getattr(part, "__dict__", {})
                if inspect.isfunction(inspect.getattr_static(kind, name, None))
            ]
            assert hidden == [], f"{kind} has methods replaced"
    assert vars(meshnet.aio.mesh)["Engine"] is Engine


def test_the_kit_needs_no_hypothesis() -> None:
    """Nor pytest: it is installed with meshnet, they are not."""
    program = (
        "import sys; sys.modules.update(hypothesis=None, pytest=None); "
        "import meshnet.testing, meshnet.testing.deep"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

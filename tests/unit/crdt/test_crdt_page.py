"""What docs/crdt.md says of mutators, of reading, and of a type of one's own is so."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from meshnet.crdt import KeyedLattice, Lattice
from support.channels import ALL_TYPES
from support.tree import ROOT

PAGE = (ROOT / "docs/crdt.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| `[A-Z]", line)]


def is_mutator(member: object) -> bool:
    if not inspect.isfunction(member):
        return False
    names = list(inspect.signature(member).parameters)
    return len(names) > 1 and names[1].strip("_") == "origin"


def members(kind: type[Lattice[Any]]) -> dict[str, object]:
    return {
        name: member
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and not hasattr(KeyedLattice, name) and name != "name"
    }


def test_the_table_has_every_type() -> None:
    assert [row[0].strip("| `") for row in ROWS] == [kind.__name__ for kind in ALL_TYPES]


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_the_table_has_every_mutator_and_every_way_to_read(kind: type[Lattice[Any]]) -> None:
    [row] = [row for row in ROWS if row[0].strip("| `") == kind.__name__]
    own = members(kind)
    mutators = {
        f"{name}({', '.join(list(inspect.signature(member).parameters)[2:])})"  # type: ignore[arg-type]
        for name, member in own.items()
        if is_mutator(member)
    }
    assert set(re.findall(r"`(\w+\(.*?\))`", row[1])) == mutators
    readers = {name for name, member in own.items() if not is_mutator(member)}
    assert set(re.findall(r"`value\.(\w+)", row[2])) == readers
    shown = {"`value[": "__getitem__", "in value`": "__contains__", "`len(": "__len__"}
    shown["`for "] = "__iter__"
    for text, method in shown.items():
        assert (text in row[2]) == hasattr(kind, method), (text, method)


def test_the_type_on_the_page_keeps_the_laws() -> None:
    names: dict[str, Any] = {}
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, names)
    names["test_laws"]()
    kind = names["Words"]
    with pytest.raises(ValueError, match="at most 255 bytes"):
        kind().add(None, "x" * 256)

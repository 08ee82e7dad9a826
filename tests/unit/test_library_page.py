"""docs/library.md has every setting of `MeshConfig`, with its default."""

from __future__ import annotations

import attrs

from meshnet import MeshConfig
from support.tree import ROOT

PAGE = (ROOT / "docs/library.md").read_text(encoding="utf-8")


def test_the_table_has_every_parameter_in_order_and_its_default() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    listed = [(row[0].strip("| `"), row[1].strip("`")) for row in rows]
    assert listed == [(each.name, repr(each.default)) for each in attrs.fields(MeshConfig)]

"""What docs/testing.md shows is what happens."""

from __future__ import annotations

import re
from typing import Any

from meshnet import testing
from meshnet.testing import Cluster, strategies
from support.tree import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
WORDS = re.compile(r"\w+").findall
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_mesh_on_the_page_does_what_the_page_says() -> None:
    names: dict[str, object] = {}
    for block in BLOCKS:
        if "cluster" in block and "hypothesis" not in block:
            exec(block, names)
    cluster = names["cluster"]
    assert isinstance(cluster, Cluster)
    cluster.run_for(20.0)
    assert cluster.meshed()


def test_the_drawn_schedules_on_the_page_are_survived() -> None:
    names: dict[str, Any] = {}
    [block] = [block for block in BLOCKS if "hypothesis" in block]
    exec(block, names)
    names["test_a_set_survives"]()


def test_every_public_name_stands_on_the_page() -> None:
    names = {word for code in re.findall(r"`[^`]+`|```.*?```", PAGE, re.S) for word in WORDS(code)}
    assert [name for name in testing.__all__ if name not in names] == []


def test_every_strategy_stands_on_the_page() -> None:
    public = [
        name
        for name, value in vars(strategies).items()
        if callable(value)
        and getattr(value, "__module__", "") == strategies.__name__
        and not name.startswith("_")
    ]
    assert len(public) > 6
    assert [name for name in public if f"`{name}`" not in PAGE] == []

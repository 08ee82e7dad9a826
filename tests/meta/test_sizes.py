"""No module grows past what one sitting can read (design section 3)."""

from __future__ import annotations

from support.tree import relative, sources

MAX_LINES = 800


def test_no_module_is_longer_than_the_bound() -> None:
    lengths = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources("meshnet", "tests")
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}

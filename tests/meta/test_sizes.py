"""No module grows past what one sitting can read (design section 3)."""

from __future__ import annotations

from support.tree import ROOT, relative, sources

MAX_LINES = 800
MAX_EXAMPLE_LINES = 80


def test_no_module_is_longer_than_the_bound() -> None:
    lengths = {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources("meshnet", "tests")
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_examples_fit_a_screen_and_stand_in_their_list() -> None:
    examples = sources("examples")
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in examples}
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_EXAMPLE_LINES} == {}
    listed = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [name for name in lengths if f"| [{name}]({name}) |" not in listed] == []

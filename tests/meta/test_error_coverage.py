"""Whatever can go wrong by name is brought about by a test, through real bytes (design section 11).

Each table names the tests that bring about one member each, by their own parameters: what counts is
what these tests are really run with, and they assert it. A new drop reason, close code, cause or
exception fails here until one of them has a case for it.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from meshnet import errors
from meshnet.errors import CloseCode, DropReason, MeshError
from meshnet.report import ExplainCause

TESTS = Path(__file__).parents[1]

EXCEPTIONS = {
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, MeshError) and value is not MeshError
}

# (what there is, the tests whose first parameter is one of it)
COVERED: dict[str, tuple[set[object], list[str]]] = {
    "drop reasons": (
        set(DropReason),
        [
            "unit/test_drop_reasons.py::test_each_kind_of_garbage_is_counted_under_its_reason",
            "loopback/test_metrics.py::test_each_drop_of_the_driver_is_counted_under_its_reason",
        ],
    ),
    "close codes": (
        set(CloseCode),
        ["unit/test_close_codes.py::test_each_code_is_the_last_that_the_other_end_hears"],
    ),
    "causes": (
        set(ExplainCause),
        ["unit/peering/test_explain.py::test_each_cause_is_named_when_it_is_so"],
    ),
    "exceptions": (
        set(EXCEPTIONS),
        ["loopback/test_exceptions.py::test_each_exception_is_raised_with_one_line"],
    ),
}


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"cases_of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def members_of(test: str) -> Iterable[object]:
    """The first parameter of each run of a test that is neither skipped nor expected to fail."""
    path, _, name = test.partition("::")
    function = getattr(module_at(TESTS / path), name)
    marks = getattr(function, "pytestmark", [])
    assert [mark.name for mark in marks] == ["parametrize"], f"{test} is not run with all its cases"
    _names, cases = marks[0].args
    return [case[0] for case in cases]


@pytest.mark.parametrize("kind", COVERED)
def test_everything_that_can_go_wrong_is_brought_about(kind: str) -> None:
    wanted, tests = COVERED[kind]
    found = [member for test in tests for member in members_of(test)]
    assert set(found) == wanted

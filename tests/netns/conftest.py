"""The tier's marker, its reasons to be skipped, and the fixtures that several modules use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnet.lab.mesh import LabMesh
from netns.tools import running_mesh, why_not_here

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(_HERE)]
    reason = why_not_here() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.netns)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"not on this machine: {reason}"))


@pytest.fixture(scope="module")
def mesh() -> Iterator[LabMesh]:
    """Three hosts, fully meshed over IPv4 with a 1500-byte underlay."""
    with running_mesh() as running:
        yield running


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short name: a unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="netns-") as directory:
        yield Path(directory)

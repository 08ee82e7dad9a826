"""What a durable update costs: the journal beside a bare write and sync of as many bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from meshnet.store.journal import FileJournal
from meshnet.store.journal_format import MARKER_BYTES, pack_group

RECORD = bytes(100)
GROUPS = pytest.mark.parametrize("count", [1, 10, 100])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(tmp_path)
    yield opened
    opened.close()


@GROUPS
def test_a_group_appended(benchmark: BenchmarkFixture, journal: FileJournal, count: int) -> None:
    benchmark(journal.append, [RECORD] * count)
    benchmark.extra_info["records_per_round"] = count


@GROUPS
def test_a_bare_write_and_sync(benchmark: BenchmarkFixture, tmp_path: Path, count: int) -> None:
    """What of the above is the disk's."""
    data = pack_group(bytes(MARKER_BYTES), 1, [RECORD] * count)
    descriptor = os.open(tmp_path / "bare", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write() -> None:
        os.write(descriptor, data)
        os.fdatasync(descriptor)

    benchmark(write)
    os.close(descriptor)
    benchmark.extra_info["records_per_round"] = count


@GROUPS
def test_packing_alone(benchmark: BenchmarkFixture, count: int) -> None:
    """What of the first is our own: framing and checksum."""
    benchmark(pack_group, bytes(MARKER_BYTES), 1, [RECORD] * count)

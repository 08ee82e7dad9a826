"""The journal on a real file system: kills, torn ends, damage, and errors in one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshnet.errors import LocalProtocolError, StateError
from meshnet.store.journal import FileJournal
from meshnet.store.journal_format import HEAD_BYTES
from meshnet.store.state import FileState
from support import journal_writer
from support.tree import ROOT

GROUPS = [[b"one"], [b"two", b"", b"three"], [b"four" * 10]]
ALL = [record for group in GROUPS for record in group]
KILLS = 200


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FileJournal]:
    opened = FileJournal(tmp_path)
    for group in GROUPS:
        opened.append(group)
    yield opened
    opened.close()


def found(directory: Path) -> list[bytes]:
    opened = FileJournal(directory)
    try:
        return opened.records()
    finally:
        opened.close()


def refusal(directory: Path) -> str:
    """The one line with which the journal is refused."""
    with pytest.raises(StateError) as caught:
        FileJournal(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fails(number: int) -> Callable[..., int]:
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def test_nothing_acknowledged_is_lost_by_200_kills(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, journal_writer.__file__, str(tmp_path / "state"), str(KILLS), "1"],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{KILLS} kills, "), done.stdout
    within = int(done.stdout.split()[2])
    assert within >= KILLS // 20, f"only {within} kills came while something was written"


def test_cut_off_at_any_byte_it_opens_with_what_was_whole_and_goes_on(
    tmp_path: Path, journal: FileJournal
) -> None:
    journal.close()
    whole = (tmp_path / "journal").read_bytes()
    for size in range(HEAD_BYTES, len(whole)):
        (tmp_path / "journal").write_bytes(whole[:size])
        opened = FileJournal(tmp_path)
        records = opened.records()
        assert records in [[], GROUPS[0], GROUPS[0] + GROUPS[1]]
        assert opened.recovered_bytes == size - opened.size_bytes
        opened.append([b"after"])
        opened.close()
        assert found(tmp_path) == [*records, b"after"]


def test_the_journal_is_private(tmp_path: Path, journal: FileJournal) -> None:
    journal.compact([b"kept"])
    for name in ("journal", "snapshot"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_state_directory_opens_its_journal_when_asked_and_closes_it(tmp_path: Path) -> None:
    state = FileState(tmp_path / "state")
    assert not (tmp_path / "state" / "journal").exists()
    journal = state.journal
    assert state.journal is journal
    journal.append([b"one"])
    state.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        journal.append([b"two"])
    with pytest.raises(LocalProtocolError, match="closed"):
        _ = state.journal
    again = FileState(tmp_path / "state")
    assert again.journal.records() == [b"one"]
    again.close()


def test_damage_before_the_end_is_refused_and_left_as_it_is(
    tmp_path: Path, journal: FileJournal
) -> None:
    journal.close()
    path = tmp_path / "journal"
    damaged = bytearray(path.read_bytes())
    damaged[HEAD_BYTES + 30] ^= 1
    path.write_bytes(damaged)
    line = refusal(tmp_path)
    assert f"{path} is damaged at byte {HEAD_BYTES}" in line
    assert "restore journal and snapshot" in line
    assert "remove both" in line
    assert path.read_bytes() == damaged
    path.unlink()
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("journal", b"", "journal is damaged"),
        ("journal", b"x" * 100, "journal is damaged"),
        ("snapshot", b"", "snapshot is damaged"),
        ("snapshot", b"x" * 100, "snapshot is damaged"),
        ("journal", None, "journal is missing"),
        ("snapshot", None, "snapshot is missing"),
    ],
)
def test_a_file_that_is_not_ours_or_not_there_is_refused(
    tmp_path: Path, journal: FileJournal, name: str, content: bytes | None, said: str
) -> None:
    journal.compact(ALL)
    journal.close()
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = refusal(tmp_path)
    assert said in line
    assert "remove both" in line


def test_a_snapshot_from_an_older_backup_is_refused(tmp_path: Path, journal: FileJournal) -> None:
    journal.compact(ALL)
    old = (tmp_path / "snapshot").read_bytes()
    journal.compact(ALL)
    journal.close()
    (tmp_path / "snapshot").write_bytes(old)
    assert "snapshot is older than the journal" in refusal(tmp_path)


def test_a_journal_that_a_compaction_had_no_time_to_replace_is_void(
    tmp_path: Path, journal: FileJournal
) -> None:
    old = (tmp_path / "journal").read_bytes()
    journal.compact([b"kept"])
    journal.close()
    (tmp_path / "journal").write_bytes(old)
    (tmp_path / "journal.new").write_bytes(b"left by a crash")
    assert found(tmp_path) == [b"kept"]
    assert {path.name for path in tmp_path.iterdir()} == {"journal", "snapshot"}


def test_a_disk_that_fills_up_takes_nothing_and_keeps_what_is_there(
    tmp_path: Path, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_pwrite = os.pwrite
    written: list[int] = []

    def fills_up(descriptor: int, data: bytes, offset: int) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(real_pwrite(descriptor, data[:5], offset))
        return written[0]

    before = (tmp_path / "journal").read_bytes()
    for call, records in ((journal.append, [b"more"]), (journal.compact, ALL)):
        written.clear()
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", fills_up)
            with pytest.raises(StateError, match="No space left on device; make room on its"):
                call(records)
        assert written, "a part was written first"
        assert (tmp_path / "journal").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["journal"]
        assert journal.records() == ALL
    journal.append([b"more"])
    assert journal.records() == [*ALL, b"more"]


def test_after_a_sync_that_failed_nothing_is_taken_until_a_restart(
    tmp_path: Path, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails(errno.EIO))
        with pytest.raises(StateError, match="Input/output error; see to its file system"):
            journal.append([b"more"])
    for call in (journal.records, lambda: journal.append([b"again"])):
        with pytest.raises(StateError, match=r"takes nothing more .* restart the node"):
            call()
    journal.close()
    assert found(tmp_path) == ALL


def test_a_compaction_mends_a_broken_journal(
    tmp_path: Path, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails(errno.EIO))
        with pytest.raises(StateError):
            journal.append([b"more"])
    journal.compact(ALL)
    journal.append([b"again"])
    journal.close()
    assert found(tmp_path) == [*ALL, b"again"]


def test_a_piece_that_cannot_be_taken_back_breaks_the_journal(
    journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails(errno.ENOSPC))
        patched.setattr(os, "ftruncate", fails(errno.EIO))
        with pytest.raises(StateError, match="No space left"):
            journal.append([b"more"])
    with pytest.raises(StateError, match="takes nothing more"):
        journal.append([b"more"])


def test_a_full_disk_at_the_first_start_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", fails(errno.ENOSPC))
        line = refusal(tmp_path)
    assert line.startswith(f"cannot open {tmp_path}/journal: No space left on device; make room")
    assert list(tmp_path.iterdir()) == []
    assert found(tmp_path) == []

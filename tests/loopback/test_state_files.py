"""The state directory: durable, private, held by one, and honest about damage."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from meshnet.errors import StateError
from meshnet.store.files import write_durably
from meshnet.store.state import FileState


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    FileState(tmp_path / "state").close()
    return tmp_path / "state"


def test_files_and_directory_are_private(directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_holder_is_refused_and_told_what_to_do(directory: Path) -> None:
    first = FileState(directory)
    with pytest.raises(StateError, match=r"in use by another node; .*--state-dir"):
        FileState(directory)
    first.close()
    FileState(directory).close()


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "00" * 33])
def test_a_damaged_identity_is_never_replaced_silently(directory: Path, text: str) -> None:
    (directory / "identity").write_text(text)
    with pytest.raises(StateError, match="identity is damaged"):
        FileState(directory)
    assert (directory / "identity").read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"incarnation": 1}',
        '{"incarnation": 1, "generation": -1}',
        '{"incarnat',
        '{"incarnation": 1, "generation": 1e999}',
    ],
)
def test_a_damaged_life_is_refused(directory: Path, text: str) -> None:
    (directory / "life.json").write_text(text)
    with pytest.raises(StateError, match=r"life\.json is damaged"):
        FileState(directory)


def test_an_identity_others_can_read_is_refused(directory: Path) -> None:
    (directory / "identity").chmod(0o640)
    with pytest.raises(StateError, match="chmod 600"):
        FileState(directory)


def test_a_refused_state_gives_the_lock_back(directory: Path) -> None:
    good = (directory / "identity").read_text()
    (directory / "identity").write_text("damaged")
    with pytest.raises(StateError):
        FileState(directory)
    (directory / "identity").write_text(good)
    FileState(directory).close()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match=r"cannot use state directory .*--state-dir") as caught:
        FileState(tmp_path / "state")
    assert "\n" not in str(caught.value)


def test_a_crash_in_the_middle_of_a_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"


def test_every_file_is_on_disk_before_it_is_in_place_and_its_name_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, Path]] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        done.append(("synced", Path(f"/proc/self/fd/{descriptor}").readlink()))

    def replace(source: Path, target: Path) -> None:
        real_replace(source, target)
        done.append(("renamed", target))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    directory = tmp_path / "new" / "state"
    state = FileState(directory)
    state.keep_targets(["192.0.2.1:6783"])
    state.close()
    directories, files = done[:2], done[2:]
    assert set(directories) == {("synced", tmp_path), ("synced", tmp_path / "new")}
    assert files == [
        step
        for name in ("identity", "life.json", "targets.json")
        for step in (
            ("synced", directory / f"{name}.new"),
            ("renamed", directory / name),
            ("synced", directory),
        )
    ]


def test_a_full_disk_at_start_is_one_clear_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StateError, match=r"cannot keep state in .*No space left on device"):
        FileState(directory)


def test_a_directory_may_be_named_by_a_text(tmp_path: Path) -> None:
    state = FileState(str(tmp_path / "state"))
    state.close()
    assert (tmp_path / "state" / "identity").exists()
    assert state.directory == tmp_path / "state"


@pytest.mark.parametrize(
    "kept", ["no JSON", "[]", '{"x": 1}', '{"%s": -1}', '{"%s": Infinity}', '{"%s": []}']
)
def test_damaged_absences_are_refused_in_one_line(tmp_path: Path, kept: str) -> None:
    FileState(tmp_path).close()
    (tmp_path / "absences.json").write_text(kept.replace("%s", "0f" * 16))
    with pytest.raises(StateError, match=r"absences.json is damaged; restore it, or remove it$"):
        FileState(tmp_path)

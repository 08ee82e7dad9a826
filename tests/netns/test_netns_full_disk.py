"""A full disk, a real one of 1 MiB: refused in one clear line, and what is there is kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnet.lab.hosts import Namespace, Underlay
from netns.tools import NODE, Node, environment, node_arguments, one_line

DISK_BYTES = 2**20

_FILL_THE_JOURNAL = """
import os, sys
from pathlib import Path
from meshnet.errors import StateError
from meshnet.store.state import FileState

directory = Path(sys.argv[1])
others = directory / "others"
others.write_bytes(bytes(300_000))
state = FileState(directory / "state")
journal, acknowledged = state.journal, []

def refusal(call, records):
    try:
        call(records)
    except StateError as error:
        return str(error)

def record():
    return bytes((len(acknowledged) % 256,)) * 5000

while (line := refusal(journal.append, [record()])) is None:
    acknowledged.append(record())
assert line.startswith(f"cannot write {directory}/state/journal: No space left on device"), line
assert "make room" in line
assert "\\n" not in line
assert len(acknowledged) > 100, "the disk was not empty"
assert journal.records() == acknowledged
line = refusal(journal.compact, acknowledged)
assert "No space left on device" in line, line
assert journal.records() == acknowledged
assert {path.name for path in (directory / "state").iterdir()} == {
    "identity", "life.json", "lock", "journal"
}
sequence = journal.sequence
journal.close()

from meshnet.store.journal import FileJournal
journal = FileJournal(directory / "state")
assert journal.records() == acknowledged, "it opens on a full disk"
assert journal.sequence == sequence
assert "No space left" in refusal(journal.append, [bytes(5000)])

others.unlink()
journal.append([b"room again"])
journal.compact(acknowledged[:10])
journal.append([b"and again"])
journal.close()
assert FileJournal(directory / "state").records() == [*acknowledged[:10], b"and again"]
print("kept")
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def on_the_disk(disk: Path, *commands: str) -> tuple[str, ...]:
    """Runs the rest in a mount namespace where ``disk`` is one, after ``commands``."""
    mount = f"mount -t tmpfs -o size={DISK_BYTES} none {disk}"
    return ("unshare", "--mount", "sh", "-ec", "; ".join([mount, *commands, 'exec "$@"']), "sh")


def test_a_journal_that_fills_its_disk_refuses_and_keeps_what_is_there(disk: Path) -> None:
    done = subprocess.run(
        [*on_the_disk(disk), sys.executable, "-c", _FILL_THE_JOURNAL, str(disk)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "kept\n"


@pytest.fixture(scope="module")
def host() -> Iterator[Namespace]:
    with Underlay(1) as underlay:
        yield underlay.hosts[0]


def test_a_node_refuses_a_full_disk_and_is_itself_again_when_there_is_room(
    host: Namespace, scratch: Path, disk: Path
) -> None:
    with Node(host, scratch, "--no-tap") as node:
        name = node.report()["name"]
        assert node.stop() == 0
    before = {path.name: path.read_bytes() for path in (scratch / "state").iterdir()}

    # The state as it was, on a disk that something else filled to the last byte.
    kept = disk.with_name("kept")
    wrapper = on_the_disk(
        disk,
        f"cp -a {scratch}/state {disk}",
        f"(dd if=/dev/zero of={disk}/other bs=1k 2>&1 || true) >{scratch}/dd",
        '"$@" || status=$?',
        f"cp -a {disk}/state {kept}",
        "exit $status",
    )
    variables = [f"{key}={value}" for key, value in environment().items()]
    state = ("--state-dir", str(disk / "state"))
    arguments = [*NODE, *node_arguments(scratch), "--no-tap", *state]
    line = one_line(host.run("env", "-i", *variables, *wrapper, *arguments), 1)
    assert "No space left" in (scratch / "dd").read_text()
    assert f"cannot keep state in {disk}/state: No space left on device" in line
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before

    kept.rename(scratch / "again")
    with Node(host, scratch, "--no-tap", "--state-dir", str(scratch / "again")) as node:
        assert node.report()["name"] == name
        assert node.stop() == 0

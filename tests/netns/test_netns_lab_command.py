"""A lab that runs in one terminal is found, broken and healed from another."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnet.client import Client
from meshnet.errors import ApiError
from netns.lab_command import LabCommand, lab_command
from netns.tools import one_line, wait_until

DEAD_WITHIN_S = 10.0
IN_A_USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabCommand]:
    """One lab for all that leave it as they found it: nothing cut, every node running."""
    # A short name: a unix socket's path has at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="netns-") as directory,
        lab_command(Path(directory), "--nat", "h3") as running,
    ):
        yield running


def reached(lab: LabCommand, host: int) -> set[str]:
    """The peers that a host has an established connection to, with or without a relay."""
    api = lab.status()["hosts"][host - 1]["api"]
    with contextlib.suppress(ApiError):
        rows = Client(Path(api)).report()["connections"]
        return {row["nickname"] for row in rows if row["state"] == "established"}
    return set()


def test_a_cut_a_heal_a_death_and_a_start_are_seen_by_the_mesh(lab: LabCommand) -> None:
    wait_until(lambda: reached(lab, 1) == {"h2", "h3"}, 30, "a whole mesh")
    lab.tell("cut", "h2")
    assert [row["cut_off_from"] for row in lab.status()["hosts"]] == [[], ["h1", "h3"], []]
    wait_until(lambda: reached(lab, 1) == {"h3"}, DEAD_WITHIN_S, "h2 missed by h1")
    assert lab.tell("heal") == "nothing is cut off\n"
    wait_until(lambda: reached(lab, 1) == {"h2", "h3"}, 30, "h2 back")

    lab.tell("kill", "h2")
    assert [row["node"] for row in lab.status()["hosts"]] == ["running", "killed", "running"]
    wait_until(lambda: reached(lab, 1) == {"h3"}, DEAD_WITHIN_S, "h2 missed by h1")
    lab.tell("start", "h2")
    wait_until(lambda: reached(lab, 1) == {"h2", "h3"}, 30, "h2 back")

    lab.tell("rebind", "h3")
    wait_until(lambda: reached(lab, 3) == {"h1", "h2"}, 30, "all reached through the NAT")


def test_a_pair_that_is_cut_goes_through_a_relay(lab: LabCommand) -> None:
    lab.tell("cut", "h1", "h2")

    def path() -> str | None:
        rows = Client(Path(lab.status()["hosts"][0]["api"])).report()["connections"]
        return next((row["path"] for row in rows if row["nickname"] == "h2"), None)

    wait_until(lambda: path() == "relay", 20, "a relay")
    lab.tell("heal", "h2", "h1")
    wait_until(lambda: path() == "direct", 30, "the direct path")


def test_a_node_that_ended_by_itself_is_told_from_one_that_was_killed(lab: LabCommand) -> None:
    entered = lab.status()["hosts"][1]["enter"].split()
    subprocess.run([*entered, "ip", "link", "delete", "mesh0"], check=True)
    wait_until(lambda: lab.status()["hosts"][1]["node"] == "ended", 10, "an ended node")
    lab.tell("start", "h2")
    assert lab.status()["hosts"][1]["node"] == "running"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cut", "h9"), "no host 'h9' in this lab: it has h1 to h3"),
        (("cut", "h1", "h1"), "cannot be cut off from itself"),
        (("start", "h1"), "is running"),
        (("rebind", "h1"), "--nat"),
        (("status", "--lab", "0"), "no lab 0 is running"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_refused_with_one_line(
    lab: LabCommand, arguments: tuple[str, ...], said: str
) -> None:
    assert said in one_line(lab.meshnet("lab", *arguments), 1)


def test_what_is_healed_one_by_one_was_cut_one_by_one(lab: LabCommand) -> None:
    lab.tell("cut", "h1")
    assert "`meshnet lab heal h1`" in one_line(lab.meshnet("lab", "heal", "h2", "h1"), 1)
    assert lab.tell("heal", "h1") == "nothing is cut off\n"
    lab.tell("kill", "h1")
    assert "lab start h1" in one_line(lab.meshnet("lab", "kill", "h1"), 1)
    lab.tell("start", "h1")


def test_who_says_nothing_or_nonsense_does_not_hold_the_lab_up(lab: LabCommand) -> None:
    [path] = lab.scratch.glob("meshnet-lab-*/control.sock")
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
        silent.connect(str(path))
        rude.connect(str(path))
        rude.sendall(b'{"command": "__class__", "hosts": 5}\n')
        started = time.monotonic()
        lab.status()
        assert time.monotonic() - started < 10
        assert b"error" in rude.recv(1000)
    for line in (b"\n", b"[]\n", b'{"command": "cut", "hosts": []}\n', b"\xff\n", b"["):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(path))
            rude.sendall(line)
            rude.shutdown(socket.SHUT_WR)
            assert b"does not understand" in rude.recv(1000), line
    lab.status()


def test_without_a_lab_one_line_says_how_to_start_one(scratch: Path) -> None:
    lab = LabCommand(scratch, "--help")
    lab.process.wait(20)
    assert "meshnet lab run" in one_line(lab.meshnet("lab", "cut", "h1"), 1)


def test_of_two_labs_one_is_picked_by_name(scratch: Path) -> None:
    with lab_command(scratch, "--hosts", "1") as one:
        # Its output is another file, its directory for temporary files the same.
        one.output.rename(scratch / "first")
        with lab_command(scratch, "--hosts", "2") as other:
            names = [str(one.process.pid), str(other.process.pid)]
            refusal = one_line(other.meshnet("lab", "status"), 1)
            listed = ", ".join(sorted(names, key=int))
            assert refusal == f"meshnet: 2 labs are running: pick one with --lab ({listed})"
            assert "h2" in other.tell("status", "--lab", names[1])
            assert "h2" not in other.tell("status", "--lab", names[0])
            other.tell("cut", "h2", "--lab", names[1])
        (scratch / "first").rename(one.output)
        # The other has ended, so there is nothing to pick.
        assert [row["host"] for row in one.status()["hosts"]] == ["h1"]


def test_without_root_of_the_system_a_lab_is_as_bad_and_steered_alike(scratch: Path) -> None:
    options = ("--hosts", "3", "--nat", "1", "--loss", "1", "--delay", "2")
    with lab_command(scratch, *options, inside=IN_A_USER_NAMESPACE) as lab:
        lab.tell("cut", "h1", "h2")
        lab.tell("heal")
        lab.tell("rebind", "h3")
        lab.tell("kill", "h1")
        lab.tell("start", "h1")
        wait_until(lambda: reached(lab, 1) == {"h2", "h3"}, 30, "h1 back")


def test_a_lab_whose_wire_dies_says_so_and_ends(scratch: Path) -> None:
    lab = LabCommand(scratch, "--hosts", "2", "--delay", "1")
    try:
        lab.wait_ready()
        [wire] = children(lab.process.pid, "meshnet.lab.wire_process")
        os.kill(wire, signal.SIGKILL)
        assert lab.process.wait(30) == 1
        assert lab.output.read_text().splitlines()[-1].startswith("meshnet: the wire process")
    finally:
        lab.end()


def children(parent: int, command: str) -> list[int]:
    """The processes that ``parent`` has started and whose command line holds ``command``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                status = (entry / "status").read_text()
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if re.search(rf"^PPid:\s+{parent}$", status, re.M) and command in line:
                    found.append(int(entry.name))
    return found

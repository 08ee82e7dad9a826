"""The host is as before: after a lab's end, its interruption, its death, and a node's.

A network namespace of its own plays the machine, with a device and a firewall that must stay; a
variable in the environment marks all that the lab starts. So labs of others that run meanwhile do
not matter.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnet.lab.hosts import Namespace, Underlay
from netns.tools import (
    MESHNET,
    Node,
    listening,
    marked_processes,
    wait_until,
)

Snapshot = dict[str, str]
LAB_TIMEOUT_S = 90
RULES = "table inet keep { chain input { type filter hook input priority 0; tcp dport 1 drop; }; }"


class Machine:
    """A host on which a lab is run: its namespace, its directory for temporary files."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.mark = f"LAB_OF_TEST={secrets.token_hex(8)}"

    def command(self, *arguments: str) -> list[str]:
        return ["env", self.mark, f"TMPDIR={self.directory}", *MESHNET, *arguments]

    def snapshot(self) -> Snapshot:
        """All that a lab or a node could leave behind."""
        commands = ("ip -d link", "ip netns", "ip addr", "ip rule", "ip -4 route", "ip -6 route")
        seen = {text: self.namespace.run(*text.split()).stdout for text in commands}
        seen["nft"] = self.namespace.run("nft", "list", "ruleset").stdout
        seen["sockets"] = listening(self.namespace)
        seen["directories"] = "\n".join(self.lab_directories())
        seen["processes"] = str(marked_processes(self.mark))
        return seen

    def lab_directories(self) -> list[str]:
        return sorted(path.name for path in self.directory.glob("meshnet-lab-*"))


@pytest.fixture
def machine(scratch: Path) -> Iterator[Machine]:
    with contextlib.closing(Namespace()) as namespace:
        namespace.ip(
            "link add keep0 type veth peer name keep1",
            "addr add 198.51.100.1/24 dev keep0",
            "link set keep0 up",
        )
        assert namespace.run("nft", RULES).returncode == 0
        machine = Machine(namespace, scratch)
        try:
            yield machine
        finally:
            for left in marked_processes(machine.mark):
                os.kill(left, signal.SIGKILL)


@pytest.fixture
def underlay() -> Iterator[Underlay]:
    with Underlay(1) as one_host:
        yield one_host


def run_lab(machine: Machine, *options: str) -> subprocess.CompletedProcess[str]:
    command = machine.command("lab", "run", *options)
    return machine.namespace.run(*command, timeout_s=LAB_TIMEOUT_S)


@contextlib.contextmanager
def lab_at_work(machine: Machine) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A lab in the middle of its check, and the file with what it says."""
    output = machine.directory / "output"
    with output.open("wb") as file:
        lab = machine.namespace.start(
            *machine.command("lab", "run", "--hosts", "3", "--check"), stdout=file
        )
    try:
        wait_until(lambda: "pinging" in output.read_text(), 30, "a lab that pings")
        assert "api.sock" in str(marked_processes(machine.mark))
        assert len(machine.lab_directories()) == 1
        yield lab, output
    finally:
        lab.kill()
        lab.wait()


def test_a_lab_s_check_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.snapshot()
    assert "keep0" in before["ip -d link"]
    assert "drop" in before["nft"]
    done = run_lab(machine, "--hosts", "3", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("established") == 3
    assert machine.snapshot() == before


def test_an_interrupted_lab_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.snapshot()
    with lab_at_work(machine) as (lab, output):
        # To the whole group, as the terminal does it on Ctrl-C.
        os.killpg(lab.pid, signal.SIGINT)
        assert lab.wait(20) == 130
        assert "Traceback" not in output.read_text()
    assert machine.snapshot() == before


def test_a_terminated_lab_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.snapshot()
    with lab_at_work(machine) as (lab, output):
        lab.terminate()
        assert lab.wait(20) != 0
        assert "Traceback" not in output.read_text()
    assert machine.snapshot() == before


def test_a_killed_lab_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.snapshot()
    with lab_at_work(machine) as (lab, _):
        lab.kill()
        lab.wait()
        wait_until(lambda: machine.snapshot() == before, 10, "the host as it was")


BAD = ("--loss", "1", "--delay", "2", "--rate", "50", "--nat", "h3")


@contextlib.contextmanager
def bad_lab_at_work(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """A lab with every kind of fault that there is, in the middle of its work."""
    output = machine.directory / "output"
    with output.open("wb") as file:
        lab = machine.namespace.start(*machine.command("lab", "run", *BAD), stdout=file)
    try:
        wait_until(lambda: "Ctrl-C ends it" in output.read_text(), 60, "a lab that is ready")
        for command in (("cut", "h1"), ("cut", "h1", "h2"), ("kill", "h2"), ("start", "h2")):
            done = machine.namespace.run(*machine.command("lab", *command))
            assert done.returncode == 0, done.stderr
        running = str(marked_processes(machine.mark))
        assert "wire_process" in running
        yield lab
    finally:
        lab.kill()
        lab.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_bad_lab_leaves_the_host_as_it_was(machine: Machine, number: signal.Signals) -> None:
    before = machine.snapshot()
    with bad_lab_at_work(machine) as lab:
        os.killpg(lab.pid, number)
        lab.wait(20)
        wait_until(lambda: machine.snapshot() == before, 10, "the host as it was")
    # Nor is there anything in the way of the next one.
    done = run_lab(machine, "--hosts", "2", "--check", *BAD[:-2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.snapshot() == before


def test_a_directory_left_by_a_crash_of_the_machine_is_removed_by_the_next_lab(
    machine: Machine,
) -> None:
    left = machine.directory / "meshnet-lab-left"
    (left / "h1").mkdir(parents=True)
    done = run_lab(machine, "--hosts", "1", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.lab_directories() == []


def test_a_running_lab_s_directory_is_not_removed_by_another_lab(machine: Machine) -> None:
    with lab_at_work(machine) as (lab, _):
        [directory] = machine.lab_directories()
        assert run_lab(machine, "--hosts", "1", "--check").returncode == 0
        assert machine.lab_directories() == [directory]
        assert lab.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_node_s_end_leaves_its_namespace_as_it_was(
    underlay: Underlay, scratch: Path, number: signal.Signals
) -> None:
    [host] = underlay.hosts
    machine = Machine(host, scratch)
    before = machine.snapshot()
    options = ("--address", "10.32.0.1/24", "--address", "fd32::1/64", "--tap", "tap7")
    with Node(host, scratch / "node", *options) as node:
        during = machine.snapshot()
        changed = {what for what in before if during[what] != before[what]}
        assert changed >= {"ip -d link", "ip addr", "ip -4 route", "ip -6 route", "sockets"}
        assert re.search(r"\btap7\b", during["ip -d link"])
        status = node.stop(number)
        assert status == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    assert machine.snapshot() == before

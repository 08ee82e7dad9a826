"""Nodes that die or stop: the mesh heals in 3 s, and a clean stop leaves nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from meshnet.lab.hosts import Underlay
from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import (
    Node,
    PingStream,
    devices,
    kill_node,
    listening,
    report_of,
    wait_until,
)

HEALED_WITHIN_S = 3.0
FIRST, TOLD = 0, 1


@pytest.mark.parametrize("dead_s", [0.0, 5.0], ids=["restarted at once", "restarted after 5 s"])
@pytest.mark.parametrize("victim", [FIRST, TOLD], ids=["told of no peer", "told of a peer"])
def test_pings_work_again_within_3_s_of_a_killed_node_s_restart(
    mesh: LabMesh, victim: int, dead_s: float
) -> None:
    host = mesh.hosts[victim]
    near, far = (other for other in mesh.hosts if other is not host)
    with (
        PingStream(near.namespace, host.overlay_ipv4) as from_near,
        PingStream(far.namespace, host.overlay_ipv4) as from_far,
        PingStream(near.namespace, far.overlay_ipv4) as between,
    ):
        streams = (from_near, from_far, between)
        for stream in streams:
            stream.first_answer_after(0, 5)
        kill_node(host)
        died = time.time()
        time.sleep(dead_s)  # The scenario itself: this long the node is away.
        restarted = time.time()
        # In flight when the node died, at most.
        assert all(answer < died + 0.5 for answer in (*from_near.answers(), *from_far.answers()))
        mesh.start_node(host)
        for stream in (from_near, from_far):
            healed = stream.first_answer_after(restarted, 15)
            assert healed - restarted < HEALED_WITHIN_S
        # The others have nothing to do with it.
        assert between.longest_gap_s() < 1.0
    mesh.wait_full_mesh(10)


def test_a_peer_that_says_goodbye_is_known_to_be_gone_at_once(mesh: LabMesh) -> None:
    host = mesh.hosts[TOLD]
    assert host.node is not None
    host.node.terminate()
    assert host.node.wait(10) == 0
    stopped = time.monotonic()

    def is_gone(seen_by: LabHost) -> bool:
        return all(
            row["state"] != "established"
            for row in report_of(seen_by)["connections"]
            if row["nickname"] == host.nickname
        )

    for other in mesh.hosts:
        if other is not host:
            wait_until(lambda: is_gone(other), 5, f"{other.nickname} knows")  # noqa: B023
    assert time.monotonic() - stopped < 1.0
    mesh.start_node(host)
    mesh.wait_full_mesh(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_leaves_no_device_and_no_socket(
    tmp_path: Path, number: signal.Signals
) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = devices(host)
        assert listening(host) == ""
        with Node(host, tmp_path / "node", "--address", "10.32.0.1/24") as node:
            assert devices(host) == before | {"mesh0"}
            assert "6783" in listening(host)
            assert str(node.api) in listening(host)
            assert node.stop(number) == 0
            assert devices(host) == before
            assert listening(host) == ""
            assert not node.api.exists()


def test_a_node_that_was_killed_starts_again_as_the_same_peer(tmp_path: Path) -> None:
    with Underlay(1) as underlay, Node(underlay.hosts[0], tmp_path / "node") as node:
        name = node.report()["name"]
        node.kill()
        assert node.api.exists(), "nobody was there to remove it"
        assert devices(underlay.hosts[0]) == {"lo", "eth0"}
        node.start()
        assert node.report()["name"] == name


def test_a_node_whose_device_is_deleted_says_so_and_ends(tmp_path: Path) -> None:
    with Underlay(1) as underlay, Node(underlay.hosts[0], tmp_path / "node") as node:
        underlay.hosts[0].ip("link delete mesh0")
        assert node.process is not None
        assert node.process.wait(10) == 1
        last = node.log_text().splitlines()[-1]
        assert last.startswith("meshnet.node: TAP mesh0 was deleted")
        assert "Traceback" not in node.log_text()
        assert listening(underlay.hosts[0]) == ""


def test_a_node_whose_bridge_is_deleted_says_so_and_ends(tmp_path: Path) -> None:
    options = ("--bridge", "br0", "--address", "10.32.0.1/24")
    with Underlay(1) as underlay, Node(underlay.hosts[0], tmp_path / "node", *options) as node:
        underlay.hosts[0].ip("link delete br0")
        assert node.process is not None
        assert node.process.wait(10) == 1
        last = node.log_text().splitlines()[-1]
        assert last.startswith("meshnet.node: bridge br0 was deleted")
        assert "Traceback" not in node.log_text()
        assert devices(underlay.hosts[0]) == {"lo", "eth0"}


def test_a_device_that_was_down_for_a_while_carries_on(mesh: LabMesh) -> None:
    one, other = mesh.hosts[:2]
    with PingStream(other.namespace, one.overlay_ipv4) as stream:
        stream.first_answer_after(0, 5)
        one.namespace.ip("link set mesh0 down")
        # What was on its way has arrived by then.
        wait_until(lambda: stream.longest_gap_s() > 0.5, 5, "pings without an answer")
        one.namespace.ip("link set mesh0 up")
        stream.first_answer_after(time.time(), 5)


def test_an_address_that_comes_later_is_announced(mesh: LabMesh) -> None:
    one, other = mesh.hosts[:2]
    one.namespace.ip("addr add 192.0.2.77/24 dev eth0")
    wait_until(lambda: "192.0.2.77:6783" in report_of(one)["addresses"], 10, "the new address")
    one.namespace.ip("addr del 192.0.2.77/24 dev eth0")
    wait_until(lambda: "192.0.2.77:6783" not in report_of(one)["addresses"], 10, "its end")
    assert other.nickname in {row["nickname"] for row in report_of(one)["connections"]}

"""Who is where: hosts that come back as others, MAC addresses that move, loops in the wiring."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnet.lab.hosts import Namespace
from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.switch.storm import FLOOD_COPIES_PER_S
from netns.containers import BRIDGE, container
from netns.tools import (
    PASSWORD,
    PingStream,
    assert_no_traceback,
    drops_of,
    json_of,
    kill_node,
    mac_address,
    meshnet,
    pings,
    raw_socket,
    report_of,
    running_mesh,
    wait_until,
)

HEALED_WITHIN_S = 3.0
FOLLOWED_WITHIN_S = 0.5
MOVER = "02:00:00:00:aa:01"


@pytest.fixture(scope="module")
def bridged() -> Iterator[LabMesh]:
    """Three hosts whose nodes have each made a bridge."""
    with running_mesh(options=("--bridge", BRIDGE)) as running:
        yield running


# The peer that comes back with another MAC address.


@pytest.mark.parametrize("options", [(), ("--bridge", BRIDGE)], ids=["TAP", "bridge"])
def test_a_host_that_lost_its_state_is_reached_again_within_3_s(options: tuple[str, ...]) -> None:
    with LabMesh(3, password=PASSWORD, options=options) as mesh:
        mesh.wait_full_mesh(30)
        lost, near, far = mesh.hosts
        interface = options[1] if options else "mesh0"
        with (
            PingStream(near.namespace, lost.overlay_ipv4) as by_ipv4,
            PingStream(far.namespace, lost.overlay_ipv6) as by_ipv6,
        ):
            for stream in (by_ipv4, by_ipv6):
                stream.first_answer_after(0, 5)
            mac = mac_address(lost.namespace, interface)
            kill_node(lost)
            shutil.rmtree(lost.directory / "state")
            restarted = time.time()
            mesh.start_node(lost)
            for stream in (by_ipv4, by_ipv6):
                assert stream.first_answer_after(restarted, 60) - restarted < HEALED_WITHIN_S
            assert mac_address(lost.namespace, interface) != mac
            # The others have nothing to say about it: it moved, and there is one of it.
            for host in mesh.hosts:
                assert "address conflict" not in host.log.read_text()


def test_an_address_that_two_hosts_have_is_told_of(mesh: LabMesh) -> None:
    one, two, _ = mesh.hosts
    one.namespace.ip(f"addr add {two.overlay_ipv4}/24 dev mesh0")
    try:
        for host in (one, two):
            wait_until(
                lambda: any(
                    "address conflict" in line and two.overlay_ipv4 in line
                    for line in host.log.read_text().splitlines()  # noqa: B023
                ),
                10,
                f"a warning at {host.nickname}",
            )
    finally:
        one.namespace.ip(f"addr del {two.overlay_ipv4}/24 dev mesh0")


def test_an_address_that_is_added_later_is_announced(mesh: LabMesh) -> None:
    """It was another host's, whose MAC address the neighbours remember."""
    one, two, three = mesh.hosts
    address = "10.32.0.200"
    one.namespace.ip(f"addr add {address}/24 dev mesh0")
    assert pings(three.namespace, address)
    one.namespace.ip(f"addr del {address}/24 dev mesh0")
    two.namespace.ip(f"addr add {address}/24 dev mesh0")
    added = time.time()
    with PingStream(three.namespace, address) as stream:
        assert stream.first_answer_after(added, 60) - added < HEALED_WITHIN_S
    two.namespace.ip(f"addr del {address}/24 dev mesh0")


# MAC addresses that move.


def test_traffic_follows_a_mac_from_host_to_host_with_its_first_frame(bridged: LabMesh) -> None:
    """A quiet guest moves to another host, back, and to the host that talks to it.

    Each time it says one thing to one host, which is not the one that talks to it.
    """
    one, two, three = bridged.hosts
    number = 150
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(contextlib.ExitStack())
        place.enter_context(container(one.namespace, number, mac=MOVER))
        stream = stack.enter_context(PingStream(three.namespace, f"10.32.0.{number}"))
        stream.first_answer_after(0, 5)
        moves = report_of(three)["data_path"]["counters"]["mac_moves"]
        for home, told in ((two, one), (one, two), (three, one), (two, one)):
            place.close()
            guest = place.enter_context(container(home.namespace, number, mac=MOVER)).namespace
            arrived = time.time()
            say_one_thing(guest, told)
            followed = stream.first_answer_after(arrived, 20)
            assert followed - arrived < FOLLOWED_WITHIN_S
        assert report_of(three)["data_path"]["counters"]["mac_moves"] >= moves + 4


def say_one_thing(guest: Namespace, to: LabHost) -> None:
    """One frame to one host, without asking anybody for its MAC address."""
    mac = mac_address(to.namespace, BRIDGE).hex(":")
    guest.ip(f"neigh add {to.overlay_ipv4} lladdr {mac} dev eth0")
    guest.run("ping", "-n", "-c", "1", "-W", "0.2", to.overlay_ipv4)


# Loops.


def burden(host: LabHost) -> tuple[float, float]:
    """Frames that a host's node has sent, and seconds of processor time that it has used."""
    assert host.node is not None
    fields = Path(f"/proc/{host.node.pid}/stat").read_text().rpartition(")")[2].split()
    used_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return report_of(host)["data_path"]["counters"]["frames_sent"], used_s


@contextlib.contextmanager
def broadcasting(namespace: Namespace) -> Iterator[None]:
    """A thousand broadcast frames a second: in a loop each of them goes round for ever."""
    frame = b"\xff" * 6 + mac_address(namespace, BRIDGE) + b"\x88\xb5" + bytes(1300)
    done = threading.Event()
    with raw_socket(namespace, BRIDGE) as raw:

        def send() -> None:
            while not done.wait(0.02):
                for _ in range(20):
                    raw.send(frame)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()


def test_a_loop_of_two_hosts_bridges_melts_nothing_and_is_told_of() -> None:
    with LabMesh(3, password=PASSWORD, options=("--bridge", BRIDGE)) as mesh:
        mesh.wait_full_mesh(30)
        one, two, three = mesh.hosts
        # The wire that somebody has laid between the two besides us.
        one.namespace.ip(
            f"link add wire0 type veth peer name wire0 netns {two.namespace.pid}",
            f"link set wire0 master {BRIDGE} up",
        )
        two.namespace.ip(f"link set wire0 master {BRIDGE} up")
        span_s = 4.0
        with broadcasting(three.namespace):
            for host in (one, two):
                wait_until(lambda: drops_of(host).get("storm"), 60, "a storm")  # noqa: B023
            before = [burden(host) for host in mesh.hosts]
            time.sleep(span_s)  # The storm itself goes on for this long.
            after = [burden(host) for host in mesh.hosts]
        rates = [
            [(now - then) / span_s for now, then in zip(late, early, strict=True)]
            for late, early in zip(after, before, strict=True)
        ]
        print("in the storm, frames a second and share of a core by node:", rates)
        for frames_per_s, share in rates:
            assert frames_per_s < 1.3 * FLOOD_COPIES_PER_S
            assert share < 0.8
        # Peers still answer each other, and nobody was lost.
        for host in mesh.hosts:
            rows = report_of(host)["connections"]
            assert {row["state"] for row in rows} == {"established"}
            for row in rows:
                done = meshnet("ping", row["nickname"], "-c", "5", "--json", "--api", host.api)
                answers = json_of(done)
                assert sum(answer["rtt_ms"] is not None for answer in answers) >= 3, answers
            assert "link lost" not in host.log.read_text()
        for host in (one, two):
            log = host.log.read_text()
            assert "too much broadcast" in log
            assert "loop suspected" in log
            assert report_of(host)["data_path"]["counters"]["mac_moves"] > 100
        # The wire is pulled, and all is as before.
        one.namespace.ip("link delete wire0")
        for host in (two, three):
            wait_until(lambda: pings(host.namespace, one.overlay_ipv4), 10, "the end")  # noqa: B023
        for host in mesh.hosts:
            assert_no_traceback(host.log.read_text())
            calm = drops_of(host).get("storm", 0)
            assert pings(host.namespace, one.overlay_ipv4)
            assert drops_of(host).get("storm", 0) == calm

"""A lab's underlay is as bad as it is told to be: loss, delay, rate, cuts, NAT, seen by packets."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Callable, Iterator

import pytest

from meshnet.lab.hosts import LabError, Namespace, Underlay, terminate
from meshnet.lab.impairments import Impairments
from meshnet.lab.mesh import LabMesh
from meshnet.lab.nat import inside_ipv4
from netns.tools import (
    Capture,
    in_namespace,
    pings,
    retry_on_refused,
    tcp_connection,
    tcp_listener,
    udp_socket,
    wait_until,
)

PINGS = 1000
# Wide: eight standard deviations of a binomial, so that chance does not fail it (10^-15).
DEVIATIONS = 8
SILENCE_S = 0.5


@pytest.fixture(scope="module")
def underlay() -> Iterator[Underlay]:
    """Three hosts on a good underlay."""
    with Underlay(3) as made:
        yield made


@pytest.fixture
def healed(underlay: Underlay) -> Iterator[Underlay]:
    yield underlay
    underlay.heal()


@contextlib.contextmanager
def impaired(**settings: float) -> Iterator[Underlay]:
    with Underlay(2, impairments=Impairments(**settings)) as made:
        yield made


def round_trips_ms(host: Namespace, address: str, count: int, interval: str) -> list[float]:
    done = host.run(
        *("ping", "-n", "-c", str(count), "-i", interval, "-W", "3", address), timeout_s=60
    )
    return [float(text) for text in re.findall(r"time=([\d.]+) ms", done.stdout)]


def megabits_per_s(client: Namespace, server: Namespace, address: str, *options: str) -> float:
    process = server.start("iperf3", "-s", "-1", "-B", address)
    try:
        command = ("iperf3", "-J", "-t", "3", "-c", address, *options)
        received = retry_on_refused(command, client)["end"]["sum_received"]
    finally:
        terminate([process])
    return float(received["bits_per_second"]) / 1e6


# Loss, delay, rate.


@pytest.mark.parametrize(
    ("percent", "delay_s"), [(20.0, 0.0), (5.0, 0.001)], ids=["bridge", "wire"]
)
def test_as_many_packets_are_lost_as_given(percent: float, delay_s: float) -> None:
    with impaired(loss_percent=percent, delay_s=delay_s) as made:
        # ARP passes the loss as well.
        wait_until(lambda: pings(made.hosts[0], made.ipv4(2)), 20, "an answer")
        answered = len(round_trips_ms(made.hosts[0], made.ipv4(2), PINGS, "0.004"))
    share = (1 - percent / 100) ** 2
    deviation = (PINGS * share * (1 - share)) ** 0.5
    assert abs(answered - PINGS * share) < DEVIATIONS * deviation, answered


def test_a_loss_of_all_is_silence_and_none_is_none(underlay: Underlay) -> None:
    with impaired(loss_percent=100.0) as made:
        assert not pings(made.hosts[0], made.ipv4(2))
    assert len(round_trips_ms(underlay.hosts[0], underlay.ipv4(2), 200, "0.002")) == 200


def test_a_packet_takes_as_much_longer_as_given() -> None:
    with impaired(delay_s=0.03) as made:
        for address in (made.ipv4(2), made.ipv6(2)):
            times = round_trips_ms(made.hosts[0], address, 20, "0.02")
            assert len(times) == 20
            assert min(times) >= 60
            # The first may have waited for ARP, and a busy machine is slow now and then.
            assert sorted(times)[5] < 90


def test_jitter_comes_on_top_of_the_delay_and_differs() -> None:
    with impaired(delay_s=0.01, jitter_s=0.03) as made:
        times = round_trips_ms(made.hosts[0], made.ipv4(2), 40, "0.05")
    assert len(times) == 40
    assert min(times) >= 20
    assert max(times) - min(times) > 15


def test_nobody_sends_or_receives_faster_than_the_rate() -> None:
    with impaired(rate_bits_per_s=10e6) as made:
        tcp = megabits_per_s(made.hosts[0], made.hosts[1], made.ipv4(2))
        assert 5 < tcp <= 10.5
        udp = megabits_per_s(
            made.hosts[0], made.hosts[1], made.ipv4(2), "-u", "-b", "40M", "-l", "1200"
        )
        assert 5 < udp <= 10.5


def test_a_mesh_forms_and_carries_frames_on_a_bad_underlay() -> None:
    bad = Impairments(loss_percent=3.0, delay_s=0.02, jitter_s=0.005, rate_bits_per_s=20e6)
    with LabMesh(3, impairments=bad) as mesh:
        mesh.wait_full_mesh(60)
        one, other = mesh.hosts[:2]
        times = round_trips_ms(one.namespace, other.overlay_ipv4, 30, "0.05")
        assert len(times) >= 15
        assert min(times) >= 40


def test_the_devices_of_a_wire_are_gone_with_it() -> None:
    with impaired(delay_s=0.001) as made:
        assert made.wire is not None
        made.wire.kill()
        made.wire.wait()
        wait_until(
            lambda: "eth0" not in made.hosts[0].run("ip", "link").stdout, 5, "a host without eth0"
        )


# Cuts.


def exchange(client: socket.socket, server: socket.socket) -> bool:
    """Whether a datagram gets to the server in time."""
    client.send(b"hello")
    server.settimeout(SILENCE_S)
    with contextlib.suppress(TimeoutError):
        return server.recv(100) == b"hello"
    return False


def test_a_cut_host_is_silent_for_tcp_and_heals(healed: Underlay) -> None:
    one, other = healed.hosts[:2]
    with (
        tcp_listener(other, healed.ipv4(2), 4000) as listener,
        tcp_connection(one, healed.ipv4(2), 4000) as client,
    ):
        server = listener.accept()[0]
        with server, Capture(one, "eth0") as capture:
            healed.cut(2)
            client.sendall(b"lost at first")
            server.settimeout(SILENCE_S)
            with pytest.raises(TimeoutError):
                server.recv(100)
            # Not a packet came back: neither RST nor FIN nor ICMP.
            heard = [frame for frame in capture.frames() if frame[6:12] == mac_of(other)]
            assert heard == []
            healed.heal(2)
            server.settimeout(20)
            assert server.recv(100) == b"lost at first"


def test_a_cut_host_is_silent_for_udp_and_heals(healed: Underlay) -> None:
    one, other = healed.hosts[:2]
    with (
        udp_socket(other, healed.ipv4(2), 4001) as server,
        udp_socket(one, healed.ipv4(1)) as client,
    ):
        client.connect((healed.ipv4(2), 4001))
        wait_until(lambda: exchange(client, server), 5, "a datagram")
        # Nobody listens there: without the cut this would be refused.
        healed.cut(1)
        server.close()
        client.send(b"to nobody")
        client.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            client.recv(100)
        healed.heal()
        with pytest.raises(ConnectionRefusedError):
            wait_until(lambda: refused(client), 10, "a refusal")


def refused(client: socket.socket) -> None:
    """Raises ConnectionRefusedError as soon as the other host's kernel says so."""
    client.send(b"to nobody")
    with contextlib.suppress(TimeoutError):
        client.recv(100)


def mac_of(host: Namespace) -> bytes:
    [row] = json.loads(host.run("ip", "-json", "link", "show", "dev", "eth0").stdout)
    return bytes.fromhex(row["address"].replace(":", ""))


@pytest.mark.parametrize("address", [Underlay.ipv4, Underlay.ipv6], ids=["ipv4", "ipv6"])
def test_a_cut_between_two_leaves_both_their_ways_to_others(
    healed: Underlay, address: Callable[[int], str]
) -> None:
    one, two, three = healed.hosts
    healed.cut(1, 2)
    assert not pings(one, address(2))
    assert not pings(two, address(1))
    assert pings(one, address(3))
    assert pings(two, address(3))
    healed.heal(3)
    assert not pings(one, address(2))
    healed.heal(2, 1)
    wait_until(lambda: pings(one, address(2)), 10, "an answer after the heal")
    healed.cut(3)
    assert pings(one, address(2))
    assert not pings(three, address(1))


# NAT.


@pytest.fixture(scope="module")
def behind_nat() -> Iterator[Underlay]:
    """Host 3 stands behind NAT."""
    with Underlay(3, behind_nat=[3]) as made:
        yield made


def test_a_host_behind_nat_reaches_others_and_is_not_reached(behind_nat: Underlay) -> None:
    outside, _, inside = behind_nat.hosts
    for target in (behind_nat.ipv4(3), inside_ipv4(3)):
        assert not pings(outside, target)
    with Capture(outside, "eth0") as capture, udp_socket(outside, port=4002) as udp:
        udp.sendto(b"unasked", (behind_nat.ipv4(3), 4002))
        udp.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            udp.recv(100)
        # Not refused, either.
        refusals = [frame for frame in capture.frames() if frame[23:24] == b"\x01"]
        assert not [frame for frame in refusals if frame[12:14] == b"\x08\x00"]
    with tcp_listener(inside, "0.0.0.0", 4003), pytest.raises(TimeoutError):
        tcp_connect(outside, behind_nat.ipv4(3), 4003)
    assert pings(inside, behind_nat.ipv4(1))
    with (
        tcp_listener(outside, behind_nat.ipv4(1), 4004) as listener,
        tcp_connection(inside, behind_nat.ipv4(1), 4004),
    ):
        accepted, (address, _) = listener.accept()
        accepted.close()
    assert address == behind_nat.ipv4(3)


def tcp_connect(host: Namespace, address: str, port: int) -> None:
    in_namespace(host, lambda: socket.create_connection((address, port), SILENCE_S)).close()


def test_answers_come_back_until_the_mapping_is_forgotten(behind_nat: Underlay) -> None:
    outside, _, inside = behind_nat.hosts
    with udp_socket(outside, port=4005) as server, udp_socket(inside, port=4006) as client:
        client.connect((behind_nat.ipv4(1), 4005))
        server.settimeout(5)
        client.settimeout(SILENCE_S)
        seen = []
        for _ in range(3):
            client.send(b"out")
            source = server.recvfrom(100)[1]
            assert source[0] == behind_nat.ipv4(3)
            server.sendto(b"back", source)
            assert client.recv(100) == b"back"
            seen.append(source[1])
            behind_nat.rebind(3)
            server.sendto(b"to a mapping that is gone", source)
            with pytest.raises(TimeoutError):
                client.recv(100)
    assert seen[0] == 4006
    assert len(set(seen)) == 3


@pytest.mark.parametrize("nat", [[3], [2, 3]], ids=["one", "two"])
def test_hosts_behind_nat_are_part_of_the_mesh(nat: list[int]) -> None:
    with LabMesh(3, behind_nat=nat) as mesh:
        mesh.wait_full_mesh(30)
        for one in mesh.hosts:
            for other in mesh.hosts:
                if one is not other:
                    assert pings(one.namespace, other.overlay_ipv4)
                    assert pings(one.namespace, other.overlay_ipv6)


def test_a_mesh_goes_on_after_a_rebinding() -> None:
    with LabMesh(2, behind_nat=[2]) as mesh:
        mesh.wait_full_mesh(30)
        one, other = mesh.hosts
        assert pings(one.namespace, other.overlay_ipv4)
        mesh.underlay.rebind(2)
        wait_until(lambda: pings(one.namespace, other.overlay_ipv4), 30, "pings after it")


def test_a_lab_in_which_nat_divides_the_hosts_is_refused() -> None:
    with pytest.raises(LabError, match="no way from h1 to h2"):
        LabMesh(2, behind_nat=[1, 2])

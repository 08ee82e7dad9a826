"""Metrics: what Prometheus reads is right, and every counter is moved by what it counts."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families

from meshnet import Mesh, MeshConfig
from meshnet.errors import CloseCode, DropReason, TapError
from meshnet.gossip.fragments import sign_fragment
from meshnet.gossip.messages import pack_announcement
from meshnet.gossip.tree import EMPTY
from meshnet.ids import network_id
from meshnet.node.http import Request
from meshnet.node.metrics import MAX_PEER_SERIES, METRICS, MeshCollector, metrics_routes
from meshnet.report import ConnectionReport, Report
from meshnet.switch import storm
from meshnet.switch.announce import gratuitous_arp
from meshnet.testing import MemoryPort
from meshnet.topology.records import TOPOLOGY
from meshnet.wire.messages import MessageType
from support.node_process import LOCAL, get, node
from support.samples import BROADCAST, ethernet, mac

PSK = bytes(32)
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
FRAME = ethernet(BROADCAST, mac(1), b"hello")
COUNTERS = {spec.name + "_total" for spec in METRICS if spec.kind == "counter"}

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(exposition: str) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


async def scrape(mesh: Mesh, accept: str = "") -> str:
    request = Request("GET", "/metrics", {}, accept)
    return (await metrics_routes(mesh)["GET", "/metrics"](request)).body.decode()


async def values_of(mesh: Mesh) -> Values:
    return parsed(await scrape(mesh))


def values_in(report: Report) -> list[float]:
    return [value for spec in METRICS for _, value in spec.samples(report)]


def counters_of(mesh: Mesh) -> dict[str, int]:
    return mesh.report()["control"]["counters"]


def data_counters_of(mesh: Mesh) -> dict[str, int]:
    return mesh.report()["data_path"]["counters"]


def total(values: Values, name: str) -> float:
    return sum(value for (sample, _), value in values.items() if sample == name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def meshes(
    *listen: str, hub: int = 0, **settings: object
) -> AsyncIterator[tuple[list[Mesh], list[MemoryPort]]]:
    """One mesh per address to listen at; all dial the first, the ``hub``."""
    async with AsyncExitStack() as stack:
        made: list[Mesh] = []
        ports: list[MemoryPort] = []
        for address in listen:
            port = MemoryPort()
            stack.callback(port.close)
            peers = [made[hub].address] if made else []
            config = MeshConfig(listen=address, psk=PSK, peers=peers, **settings)  # type: ignore[arg-type]
            made.append(await stack.enter_async_context(Mesh(config, port)))
            ports.append(port)
        await asyncio.gather(*(mesh.wait_connected(len(listen) - 1) for mesh in made))
        yield made, ports


# Scenarios: each gives the values before and after, at one mesh.

Moved = tuple[Values, Values]


async def links_and_sessions_come_up() -> Moved:
    async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
        before = await values_of(mesh)
        config = MeshConfig(listen=LOCAL, psk=PSK, peers=[mesh.address])
        async with Mesh(config) as other:
            await asyncio.gather(mesh.wait_connected(), other.wait_connected())
            mesh.connect(other.address)
        await until(lambda: not mesh.connected_peers())
        return before, await values_of(mesh)


async def a_dialler_comes_up() -> Moved:
    async with (
        Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as other,
        Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh,
    ):
        before = await values_of(mesh)
        mesh.connect(other.address)
        await mesh.wait_connected()
        return before, await values_of(mesh)


async def a_link_is_refused() -> Moved:
    async with (
        Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh,
        Mesh(MeshConfig(listen=LOCAL, psk=b"x" * 32, peers=[mesh.address])) as other,
    ):
        before = await values_of(mesh)
        await until(lambda: other.report()["connections"][0]["state"] == "failed")
        after = await values_of(mesh)
        labels = (("by", "us"), ("code", "wrong_password"))
        assert after["meshnet_links_refused_total", labels] == 1
        assert (await values_of(other))[
            "meshnet_links_refused_total", (("by", "them"), ("code", "wrong_password"))
        ] == 1
        return before, after


async def a_dial_fails() -> Moved:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
            before = await values_of(mesh)
            mesh.connect(f"127.0.0.1:{bound.getsockname()[1]}")
            await until(lambda: mesh.report()["connections"][0]["reason"] != "")
            return before, await values_of(mesh)


async def frames_go_both_ways() -> Moved:
    async with meshes(LOCAL, LOCAL) as (made, ports):
        before = await values_of(made[0])
        ports[0].send(FRAME)
        await ports[1].receive()
        ports[1].send(FRAME)
        await ports[0].receive()
        after = await values_of(made[0])
        for way in ("sent", "received"):
            for unit, amount in (("", 1), ("_bytes", len(FRAME))):
                name = f"meshnet_frames_{way}{unit}_total"
                assert after[name, ()] - before[name, ()] == amount
        return before, after


async def a_third_peer_passes_on() -> Moved:
    # Who listens on all addresses announces none, so the two have no direct path.
    async with meshes(LOCAL, "0.0.0.0:0", "0.0.0.0:0", discovery=False) as (made, ports):
        before = await values_of(made[0])
        ports[1].send(FRAME)
        await ports[2].receive()
        assert (await values_of(made[1]))["meshnet_sessions", (("path", "relay"),)] == 1
        return before, await values_of(made[0])


def be_one_of_too_many(mesh: Mesh) -> None:
    """As with more peers than ``--degree`` may be."""
    engine = mesh._running
    engine._neighbours.degree = 1
    engine._neighbours._is_crowded = True
    engine.data_path.crowded = engine.data_path.on_demand = True


async def a_session_rests_until_frames_flow() -> Moved:
    hosts = (LOCAL, "0.0.0.0:0", "0.0.0.0:0")
    async with meshes(*hosts, discovery=False, rekey_after_s=0.6) as (made, ports):
        for mesh in made:
            be_one_of_too_many(mesh)
        before = await values_of(made[2])
        await until(lambda: counters_of(made[2])["sessions_rested"] > 0)
        ports[1].send(FRAME)
        await ports[2].receive()
        ports[2].send(ethernet(mac(1), mac(2), b"answer"))
        await ports[1].receive()
        return before, await values_of(made[2])


async def frames_for_all_are_passed_on() -> Moved:
    async with meshes(LOCAL, LOCAL, LOCAL) as (made, ports):
        for mesh in made:
            be_one_of_too_many(mesh)
        before = await values_of(made[0])
        for port in ports[:2]:
            port.send(FRAME)
            await ports[2].receive()
        await until(lambda: data_counters_of(made[0])["broadcasts_repeated"] > 0)
        await until(lambda: data_counters_of(made[0])["broadcasts_passed_on"] > 0)
        return before, await values_of(made[0])


async def keys_are_renewed() -> Moved:
    async with meshes(LOCAL, LOCAL, rekey_after_s=0.4) as (made, _):
        before = await values_of(made[0])
        await until(lambda: counters_of(made[0])["sessions_renewed"] > 0)
        return before, await values_of(made[0])


async def two_hosts_write_with_one_key() -> Moved:
    async with meshes(LOCAL, LOCAL) as ((mesh, other), _):
        before = await values_of(mesh)
        writer = other._running
        # What another host with its state directory would say of itself.
        head = mesh._running.gossip.replica.channel(TOPOLOGY)[other.name].head
        twin = sign_fragment(
            writer.config.identity,
            network_id("meshnet"),
            TOPOLOGY,
            EMPTY,
            incarnation=head.incarnation,
            sequence=head.sequence,
        )
        body = pack_announcement(TOPOLOGY, twin.head)
        assert writer.links.send(mesh.name, MessageType.DELTA, body)
        other._drain()
        await until(lambda: counters_of(mesh)["identity_conflicts"] == 1)
        return before, await values_of(mesh)


async def two_hosts_have_one_address() -> Moved:
    async with meshes(LOCAL, LOCAL) as (made, ports):
        before = await values_of(made[0])
        for turn in (0, 1, 0):
            ports[turn].send(gratuitous_arp(IPv4Address("10.32.0.9"), mac(turn)))
            await ports[1 - turn].receive()
        await until(lambda: counters_of(made[0])["address_conflicts"] == 1)
        return before, await values_of(made[0])


async def more_is_flooded_than_is_carried() -> Moved:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storm, "FLOOD_BURST_COPIES", 3.0)
        async with meshes(LOCAL, LOCAL) as (made, ports):
            before = await values_of(made[0])
            for _ in range(30):
                ports[0].send(FRAME)
            await until(lambda: counters_of(made[0])["floods_limited"] == 1)
            return before, await values_of(made[0])


async def a_loop_brings_frames_back() -> Moved:
    async with meshes(LOCAL, LOCAL) as (made, ports):
        before = await values_of(made[0])
        for turn in [0, 1] * 6:
            ports[turn].send(FRAME)
            await ports[1 - turn].receive()
        await until(lambda: counters_of(made[0])["loops_suspected"] == 1)
        after = await values_of(made[0])
        assert after["meshnet_mac_moves_total", ()] == 11
        return before, after


async def a_peer_that_is_gone_is_removed() -> Moved:
    async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
        before = await values_of(mesh)
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK, peers=[mesh.address])) as other:
            await asyncio.gather(mesh.wait_connected(), other.wait_connected())
            gone = other.name
        await until(lambda: any(peer["gone"] for peer in mesh.report()["peers"]))
        assert mesh.remove_peer(gone) > 0
        return before, await values_of(mesh)


async def garbage_is_dropped() -> Moved:
    async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
        before = await values_of(mesh)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            host, _, port = mesh.address.rpartition(":")
            stranger.sendto(b"short", (host, int(port)))
            await until(lambda: mesh.report()["data_path"]["drops"] != {})
        after = await values_of(mesh)
        moved = {key for key in after if after[key] != before.get(key) and "drops" in key[0]}
        assert moved == {("meshnet_drops_total", (("reason", "truncated"),))}
        return before, after


SCENARIOS: list[tuple[Callable[[], Awaitable[Moved]], set[str]]] = [
    (
        links_and_sessions_come_up,
        {
            "meshnet_links_established_total",
            "meshnet_links_lost_total",
            "meshnet_links_sent_bytes_total",
            "meshnet_links_received_bytes_total",
            "meshnet_peers_discovered_total",
            "meshnet_sessions_established_total",
            "meshnet_sessions_lost_total",
            "meshnet_handshakes_answered_total",
        },
    ),
    (a_dialler_comes_up, {"meshnet_handshakes_started_total"}),
    (a_link_is_refused, {"meshnet_links_refused_total"}),
    (a_dial_fails, {"meshnet_dials_failed_total"}),
    (
        frames_go_both_ways,
        {
            "meshnet_frames_sent_total",
            "meshnet_frames_received_total",
            "meshnet_frames_sent_bytes_total",
            "meshnet_frames_received_bytes_total",
            "meshnet_datagrams_sent_total",
            "meshnet_datagrams_received_total",
        },
    ),
    (a_third_peer_passes_on, {"meshnet_datagrams_relayed_total"}),
    (
        a_session_rests_until_frames_flow,
        {"meshnet_sessions_rested_total", "meshnet_frames_held_total"},
    ),
    (
        frames_for_all_are_passed_on,
        {
            "meshnet_broadcasts_sent_total",
            "meshnet_broadcasts_passed_on_total",
            "meshnet_broadcasts_repeated_total",
        },
    ),
    (keys_are_renewed, {"meshnet_sessions_renewed_total"}),
    (two_hosts_write_with_one_key, {"meshnet_identity_conflicts_total"}),
    (two_hosts_have_one_address, {"meshnet_address_conflicts_total"}),
    (more_is_flooded_than_is_carried, {"meshnet_floods_limited_total"}),
    (a_loop_brings_frames_back, {"meshnet_mac_moves_total", "meshnet_loops_suspected_total"}),
    (a_peer_that_is_gone_is_removed, {"meshnet_removals_total"}),
    (garbage_is_dropped, {"meshnet_drops_total"}),
]


@pytest.mark.parametrize(("scenario", "names"), SCENARIOS, ids=[s.__name__ for s, _ in SCENARIOS])
def test_counters_are_moved_by_what_they_count(
    scenario: Callable[[], Awaitable[Moved]], names: set[str]
) -> None:
    async def test() -> None:
        before, after = await asyncio.wait_for(scenario(), 30)
        moved = {name for name in COUNTERS if total(after, name) > total(before, name)}
        assert names <= moved
        fallen = [name for name in COUNTERS if total(after, name) < total(before, name)]
        assert fallen == []

    asyncio.run(test())


def test_what_one_end_of_a_link_sends_the_other_receives() -> None:
    async def test() -> None:
        async with meshes(LOCAL, LOCAL) as ((one, other), _):

            def all_arrived() -> bool:
                ours, theirs = counters_of(one), counters_of(other)
                sent = ours["link_bytes_sent"], theirs["link_bytes_sent"]
                received = theirs["link_bytes_received"], ours["link_bytes_received"]
                return sent == received and min(sent) > 500

            await until(all_arrived)

    asyncio.run(asyncio.wait_for(test(), 30))


def test_every_counter_is_moved_by_a_scenario() -> None:
    assert set().union(*(names for _, names in SCENARIOS)) == COUNTERS


def test_every_counter_of_the_report_is_a_metric() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
            report = mesh.report()
        for counters in (report["control"]["counters"], report["data_path"]["counters"]):
            for name in counters:
                before = values_in(report)
                counters[name] += 1
                assert values_in(report) != before, f"{name} is served by no metric"

    asyncio.run(test())


# The drops that only a driver can have; those of the pure parts: tests/unit/test_drop_reasons.py.


def drops_of(mesh: Mesh, reason: DropReason) -> int:
    return mesh.report()["data_path"]["drops"].get(reason.value, 0)


async def the_device_takes_no_frame(reason: DropReason) -> None:
    async with meshes(LOCAL, LOCAL) as (made, ports):
        ports[1].close_host()
        with pytest.raises(TapError):
            await made[1].wait_failed()
        ports[0].send(FRAME)
        await until(lambda: drops_of(made[1], reason) == 1)


async def the_system_sends_no_datagram(reason: DropReason) -> None:
    # The second has no IPv6 socket, and the third announces that it is to be called by IPv6.
    hub_config = MeshConfig(listen=LOCAL, psk=PSK)
    async with Mesh(hub_config) as hub:
        peers = [hub.address]
        plain = MeshConfig(listen="0.0.0.0:0", psk=PSK, peers=peers, discovery=False)
        six = evolve(plain, advertise=["[::1]:9"])
        async with Mesh(plain) as mesh, Mesh(six) as other:
            await asyncio.gather(mesh.wait_connected(2), other.wait_connected(2))
            await until(lambda: drops_of(mesh, reason) > 0)


OF_THE_DRIVER: list[tuple[DropReason, Callable[[DropReason], Awaitable[None]]]] = [
    (DropReason.TAP_WRITE_FAILED, the_device_takes_no_frame),
    (DropReason.UNDERLAY_SEND_FAILED, the_system_sends_no_datagram),
]


@pytest.mark.parametrize(("reason", "scenario"), OF_THE_DRIVER)
def test_each_drop_of_the_driver_is_counted_under_its_reason(
    reason: DropReason, scenario: Callable[[DropReason], Awaitable[None]]
) -> None:
    asyncio.run(asyncio.wait_for(scenario(reason), 30))


# The exposition.


def test_all_reasons_states_and_codes_are_there_from_the_start() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
            values = await values_of(mesh)
        reasons = {labels for name, labels in values if name == "meshnet_drops_total"}
        assert reasons == {(("reason", reason.value),) for reason in DropReason}
        codes = {labels for name, labels in values if name == "meshnet_links_refused_total"}
        assert len(codes) == 2 * (len(CloseCode) + 1)
        states = {labels for name, labels in values if name == "meshnet_connections"}
        assert len(states) == 4
        assert values["meshnet_ready", ()] == 1
        assert values["meshnet_network_open", ()] == 0
        assert total(values, "process_resident_memory_bytes") > 0

    asyncio.run(test())


def test_a_peer_has_its_round_trip_and_loss() -> None:
    async def test() -> None:
        async with meshes(LOCAL, LOCAL) as (made, _):
            await until(lambda: made[0].report()["connections"][0]["rtt_ms"] is not None)
            values = await values_of(made[0])
            peer = (("peer", str(made[1].name)),)
            assert 0 < values["meshnet_peer_rtt_seconds", peer] < 1
            assert values["meshnet_peer_loss_ratio", peer] == 0

    asyncio.run(asyncio.wait_for(test(), 30))


def test_peers_beyond_the_bound_have_no_series_of_their_own() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
            report = mesh.report()

        def row(number: int) -> ConnectionReport:
            return {
                "peer": f"{number:032x}",
                "nickname": "",
                "address": "",
                "direction": "inbound",
                "state": "established",
                "reason": "",
                "path": "direct",
                "encrypted": True,
                "cipher": "",
                "rtt_ms": 1.0,
                "loss": 0.0,
                "mtu": None,
            }

        report["connections"] = [row(number) for number in range(MAX_PEER_SERIES + 50)]
        families = {metric.name: metric for metric in MeshCollector(lambda: report).collect()}
        assert len(families["meshnet_peer_rtt_seconds"].samples) == MAX_PEER_SERIES
        direct = [
            s.value for s in families["meshnet_sessions"].samples if s.labels["path"] == "direct"
        ]
        assert direct == [MAX_PEER_SERIES + 50]

    asyncio.run(test())


def test_who_asks_for_openmetrics_gets_it() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK)) as mesh:
            text = await scrape(mesh, "application/openmetrics-text; version=1.0.0")
            assert text.endswith("# EOF\n")

    asyncio.run(test())


def test_promtool_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("not on this machine: no promtool (Debian's package prometheus)")
    with node(tmp_path, "--metrics", LOCAL) as served:
        exposition = get(served["metrics"], "/metrics")[2]
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=exposition,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_docs_list_every_metric_as_it_is() -> None:
    rows = re.findall(r"^\| `(meshnet_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.M)
    assert rows == [
        (
            spec.name + ("_total" if spec.kind == "counter" else ""),
            spec.kind,
            ", ".join(f"`{label}`" for label in spec.labels) or "none",
            spec.help,
        )
        for spec in METRICS
    ]

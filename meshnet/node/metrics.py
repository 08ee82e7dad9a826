"""What `--metrics` serves: the report in Prometheus's exposition format (docs/metrics.md).

Nothing is counted here. Each metric reads the report that everybody gets, at the time of asking.
Imported only when metrics are asked for: prometheus_client costs a node memory and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from meshnet.aio.mesh import Mesh
from meshnet.errors import CloseCode, DropReason
from meshnet.node.http import Answer, Request, Routes
from meshnet.report import ConnectionReport, ConnectionState, Report

# A series per peer is kept by whoever scrapes us, for weeks. More peers than that have no series of
# their own; which have is decided by name, so that it does not change from scrape to scrape.
MAX_PEER_SERIES = 256

Samples = Iterable[tuple[tuple[str, ...], float]]


class Spec(NamedTuple):
    """One metric: ``samples`` gives the values of ``labels``, and the value, from a report."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Report], Samples]


def _one(value: Callable[[Report], float]) -> Callable[[Report], Samples]:
    return lambda report: [((), value(report))]


def _control(name: str) -> Callable[[Report], Samples]:
    return _one(lambda report: report["control"]["counters"][name])


def _data(name: str) -> Callable[[Report], Samples]:
    return _one(lambda report: report["data_path"]["counters"][name])


def _peers(report: Report) -> Samples:
    counts = Counter(peer["reachable"] for peer in report["peers"])
    return [(("true",), counts[True]), (("false",), counts[False])]


def _connections(report: Report) -> Samples:
    counts = Counter(row["state"] for row in report["connections"])
    return [((state,), counts[state]) for state in get_args(ConnectionState)]


def _sessions(report: Report) -> Samples:
    counts = Counter(row["path"] for row in report["connections"])
    return [((path,), counts[path]) for path in ("direct", "relay")]


def _refusals(report: Report) -> Samples:
    counts = {(row["code"], row["by"]): row["count"] for row in report["control"]["links_refused"]}
    codes = [code.name.lower() for code in CloseCode]
    return [
        ((code, by), counts.get((code, by), 0))
        for code in (*codes, "none")
        for by in ("us", "them")
    ]


def _drops(report: Report) -> Samples:
    drops = report["data_path"]["drops"]
    return [((reason.value,), drops.get(reason.value, 0)) for reason in DropReason]


def _of_peers(value: Callable[[ConnectionReport], float | None]) -> Callable[[Report], Samples]:
    def samples(report: Report) -> Samples:
        rows = sorted((row for row in report["connections"] if row["path"]), key=_peer_of)
        for row in rows[:MAX_PEER_SERIES]:
            if (found := value(row)) is not None:
                yield (row["peer"],), found

    return samples


def _peer_of(row: ConnectionReport) -> str:
    return row["peer"]


def _rtt_s(row: ConnectionReport) -> float | None:
    return row["rtt_ms"] / 1e3 if row["rtt_ms"] is not None else None


METRICS = (
    Spec(
        "meshnet_build_info",
        "gauge",
        "Always 1; the version that runs.",
        ("version",),
        lambda report: [((report["version"],), 1)],
    ),
    Spec(
        "meshnet_ready",
        "gauge",
        "1 while the node works, 0 when it cannot go on.",
        (),
        _one(lambda report: report["ready"]),
    ),
    Spec(
        "meshnet_network_open",
        "gauge",
        "1 when there is no password, so that anyone may join.",
        (),
        _one(lambda report: report["open"]),
    ),
    Spec(
        "meshnet_peers",
        "gauge",
        "Peers known, this one included, by whether frames reach them.",
        ("reachable",),
        _peers,
    ),
    Spec(
        "meshnet_connections",
        "gauge",
        "Connections to peers and addresses being dialled, by state.",
        ("state",),
        _connections,
    ),
    Spec(
        "meshnet_sessions",
        "gauge",
        "Data sessions in use, by the path their datagrams take.",
        ("path",),
        _sessions,
    ),
    Spec(
        "meshnet_routes",
        "gauge",
        "Peers to which there is a way, by links or through others.",
        (),
        _one(lambda report: len(report["routes"])),
    ),
    Spec(
        "meshnet_peer_rtt_seconds",
        "gauge",
        "Smoothed round trip of the data session with a peer.",
        ("peer",),
        _of_peers(_rtt_s),
    ),
    Spec(
        "meshnet_peer_loss_ratio",
        "gauge",
        "Share of the last probes to a peer that were not answered, 0 to 1.",
        ("peer",),
        _of_peers(lambda row: row["loss"]),
    ),
    Spec(
        "meshnet_links_established",
        "counter",
        "Links that came up.",
        (),
        _control("links_established"),
    ),
    Spec("meshnet_links_lost", "counter", "Links that ended.", (), _control("links_lost")),
    Spec(
        "meshnet_links_refused",
        "counter",
        "Connections that ended before they were links, by close code and by which end said so.",
        ("code", "by"),
        _refusals,
    ),
    Spec(
        "meshnet_dials_failed",
        "counter",
        "TCP connections that could not be made.",
        (),
        _control("dials_failed"),
    ),
    Spec(
        "meshnet_links_sent_bytes",
        "counter",
        "Bytes sent on links: control traffic, without TCP's own.",
        (),
        _control("link_bytes_sent"),
    ),
    Spec(
        "meshnet_links_received_bytes",
        "counter",
        "Bytes received on links.",
        (),
        _control("link_bytes_received"),
    ),
    Spec(
        "meshnet_peers_discovered",
        "counter",
        "Peers heard of for the first time.",
        (),
        _control("peers_discovered"),
    ),
    Spec(
        "meshnet_peers_gone",
        "gauge",
        "Peers remembered that no route reaches.",
        (),
        _one(lambda report: sum(peer["gone"] is not None for peer in report["peers"])),
    ),
    Spec(
        "meshnet_removals",
        "counter",
        "Records, and other parts of channels, let go as their peers were gone.",
        (),
        _control("removals"),
    ),
    Spec(
        "meshnet_handshakes_started",
        "counter",
        "Handshakes of data sessions that this peer began.",
        (),
        _control("handshakes_started"),
    ),
    Spec(
        "meshnet_handshakes_answered",
        "counter",
        "Handshakes of data sessions that others began and this peer answered.",
        (),
        _control("handshakes_answered"),
    ),
    Spec(
        "meshnet_sessions_established",
        "counter",
        "Data sessions that came into use.",
        (),
        _control("sessions_established"),
    ),
    Spec(
        "meshnet_sessions_renewed",
        "counter",
        "Data sessions whose keys were renewed without a break.",
        (),
        _control("sessions_renewed"),
    ),
    Spec(
        "meshnet_sessions_lost",
        "counter",
        "Data sessions that were given up or ended.",
        (),
        _control("sessions_lost"),
    ),
    Spec(
        "meshnet_sessions_rested",
        "counter",
        "Data sessions that ended because nothing used them; frames set up another.",
        (),
        _control("sessions_rested"),
    ),
    Spec(
        "meshnet_identity_conflicts",
        "counter",
        "Signs that two hosts write with one identity: was a state directory copied?",
        (),
        _control("identity_conflicts"),
    ),
    Spec(
        "meshnet_address_conflicts",
        "counter",
        "Signs that two hosts have one overlay address.",
        (),
        _control("address_conflicts"),
    ),
    Spec(
        "meshnet_floods_limited",
        "counter",
        "Told once a minute for each side from which more is flooded than is carried.",
        (),
        _control("floods_limited"),
    ),
    Spec(
        "meshnet_mac_moves",
        "counter",
        "MAC addresses that changed sides, between peers or between us and a peer.",
        (),
        _data("mac_moves"),
    ),
    Spec(
        "meshnet_loops_suspected",
        "counter",
        "MAC addresses that kept changing sides, as a loop in the wiring makes them.",
        (),
        _control("loops_suspected"),
    ),
    Spec(
        "meshnet_frames_sent",
        "counter",
        "Ethernet frames sealed for a peer; a flooded one counts once for each.",
        (),
        _data("frames_sent"),
    ),
    Spec(
        "meshnet_frames_received",
        "counter",
        "Ethernet frames delivered to this host.",
        (),
        _data("frames_received"),
    ),
    Spec(
        "meshnet_frames_held",
        "counter",
        "Frames that waited for a data session to be set up.",
        (),
        _data("frames_held"),
    ),
    Spec(
        "meshnet_frames_sent_bytes",
        "counter",
        "Bytes of the frames sent.",
        (),
        _data("frame_bytes_sent"),
    ),
    Spec(
        "meshnet_frames_received_bytes",
        "counter",
        "Bytes of the frames received.",
        (),
        _data("frame_bytes_received"),
    ),
    Spec(
        "meshnet_datagrams_sent",
        "counter",
        "Sealed UDP datagrams sent.",
        (),
        _data("datagrams_sent"),
    ),
    Spec(
        "meshnet_datagrams_received",
        "counter",
        "UDP datagrams received, whatever is in them.",
        (),
        _data("datagrams_received"),
    ),
    Spec(
        "meshnet_datagrams_relayed",
        "counter",
        "Datagrams passed on for other peers.",
        (),
        _data("datagrams_relayed"),
    ),
    Spec(
        "meshnet_broadcasts_sent",
        "counter",
        "Frames for all that this peer sealed once and gave to its neighbours.",
        (),
        _data("broadcasts_sent"),
    ),
    Spec(
        "meshnet_broadcasts_passed_on",
        "counter",
        "Frames for all that other peers sent and this one passed on.",
        (),
        _data("broadcasts_passed_on"),
    ),
    Spec(
        "meshnet_broadcasts_repeated",
        "counter",
        "Frames for all that came again, by another way.",
        (),
        _data("broadcasts_repeated"),
    ),
    Spec(
        "meshnet_drops",
        "counter",
        "Frames, datagrams and records dropped, by reason (docs/wire.md section 5.5).",
        ("reason",),
        _drops,
    ),
)


class MeshCollector(Collector):
    """`METRICS`, read from a report that ``give`` makes."""

    def __init__(self, give: Callable[[], Report]) -> None:
        self._give = give

    def collect(self) -> Iterator[Metric]:
        report = self._give()
        for spec in METRICS:
            family = GaugeMetricFamily if spec.kind == "gauge" else CounterMetricFamily
            metric = family(spec.name, spec.help, labels=spec.labels)
            for labels, value in spec.samples(report):
                metric.add_metric(labels, float(value))
            yield metric

    def describe(self) -> list[Metric]:
        """Nothing: the registry would ask for a report before there is one."""
        return []


def metrics_routes(mesh: Mesh) -> Routes:
    """`METRICS` and the process's own (CPU time, memory, descriptors), as text or OpenMetrics."""
    registry = CollectorRegistry()
    registry.register(MeshCollector(mesh.report))
    ProcessCollector(registry=registry)

    async def metrics(request: Request) -> Answer:
        encode, content_type = choose_encoder(request.accept)
        return Answer(encode(registry), content_type)

    return {("GET", "/metrics"): metrics}

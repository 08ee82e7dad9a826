"""`explain`: every cause, brought about by what peers really say to each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from meshnet.peering.keepalive import KEEPALIVE_S, STEP_IN_LATER_S
from meshnet.peering.silence import LOST_IDLE_S
from meshnet.report import CauseReport, ExplainCause, Explanation
from meshnet.testing import Cluster, Host
from meshnet.testing.connections import DIAL_TIMEOUT_S
from support.samples import OTHER_PSK

Case = Callable[[Cluster], Explanation]


def explain(host: Host, other: Host) -> Explanation:
    return host.engine.reports.explain(other.name, host.cluster.now)


def explain_address(host: Host, other: Host) -> Explanation:
    at = other.address
    found = host.engine.reports.explain_address(at.host, at.port, host.cluster.now)
    assert found is not None
    return found


def state_of(host: Host, other: Host) -> str:
    connection = explain_address(host, other)["connection"]
    assert connection is not None
    return connection["state"]


def pair(cluster: Cluster, **config: Any) -> tuple[Host, Host]:
    """Two hosts; the second, with ``config``, is dialled by the first."""
    a, b = cluster.add("a"), cluster.add("b", **config)
    a.connect(b)
    return a, b


def meshed_pair(cluster: Cluster, **config: Any) -> tuple[Host, Host]:
    a, b = pair(cluster, **config)
    cluster.run_until(cluster.meshed, within_s=2)
    cluster.run_for(1)
    return a, b


def around(cluster: Cluster, **config: Any) -> tuple[Host, Host, Host]:
    """a and c know of each other by b. ``config`` is c's."""
    a, b, c = cluster.add("a"), cluster.add("b"), cluster.add("c", **config)
    cluster.cut(a, c)
    a.connect(b)
    c.connect(b)
    return a, b, c


def silence(cluster: Cluster) -> None:
    """UDP does not get through, TCP does."""
    cluster.datagram_filter = lambda _source, _to, _data: False


def direct(cluster: Cluster) -> Explanation:
    return explain(*meshed_pair(cluster))


def relayed(cluster: Cluster) -> Explanation:
    a, _, c = around(cluster)
    cluster.run_until(cluster.meshed, within_s=5)
    cluster.run_for(DIAL_TIMEOUT_S)
    return explain(a, c)


def on_demand(cluster: Cluster) -> Explanation:
    hosts = [cluster.add(f"host{number}", degree=1) for number in range(3)]
    cluster.cut(hosts[0], hosts[2])
    for one, other in itertools.pairwise(hosts):
        one.connect(other)
    cluster.run_for(2)
    return explain(hosts[0], hosts[2])


def dialling(cluster: Cluster) -> Explanation:
    return explain_address(*pair(cluster))


def dial_failed(cluster: Cluster) -> Explanation:
    a, b = pair(cluster)
    b.crash()
    cluster.run_for(0.1)
    return explain_address(a, b)


def dial_failed_and_tried_again(cluster: Cluster) -> Explanation:
    a, b = pair(cluster)
    b.crash(silent=True)
    cluster.run_until(lambda: state_of(a, b) == "retrying", within_s=2 * DIAL_TIMEOUT_S)
    first = explain_address(a, b)
    cluster.run_until(lambda: state_of(a, b) == "connecting", within_s=5)
    again = explain_address(a, b)
    assert names(again["causes"]) == names(first["causes"])
    assert again["causes"][0]["text"].endswith(f"(being tried again at {b.address})")
    return again


def own_address(cluster: Cluster) -> Explanation:
    a = cluster.add("a")
    a.connect(a)
    cluster.run_for(1)
    explained = explain_address(a, a)
    assert (explained["peer"], explained["nickname"]) == (str(a.name), "a")
    return explained


def link_refused(cluster: Cluster) -> Explanation:
    a, b = pair(cluster, psk=OTHER_PSK)
    cluster.run_for(1)
    return explain_address(a, b)


def link_refused_as_too_many(cluster: Cluster) -> Explanation:
    a, b = cluster.add("a"), cluster.add("b", conn_limit=1)
    c = cluster.add("c")
    for host in (a, c):
        host.connect(b)
        cluster.run_for(1)
    explained = explain(c, b)
    assert "--conn-limit of the end that refused" in explained["causes"][-1]["text"]
    return explained


def link_lost(cluster: Cluster) -> Explanation:
    a, b = meshed_pair(cluster)
    b.crash()
    cluster.run_until(lambda: not a.engine.routes(), within_s=1)
    return explain(a, b)


def conn_limit(cluster: Cluster) -> Explanation:
    a = cluster.add("a", conn_limit=1)
    b, c = cluster.add("b"), cluster.add("c")
    a.connect(b)
    cluster.run_for(1)
    a.connect(c)
    explained = explain_address(a, c)
    assert "1 links are the limit (--conn-limit)" in explained["causes"][0]["text"]
    return explained


def not_needed(cluster: Cluster) -> Explanation:
    """Six peers with four neighbours each on two rings, at most."""
    hosts = [cluster.add(f"host{number}", degree=4) for number in range(6)]
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(lambda: all(len(host.engine.routes()) == 5 for host in hosts), within_s=5)
    cluster.run_for(2)
    one, other = next(
        (one, other)
        for one in hosts
        for other in hosts
        if other is not one and other.name not in one.engine.links.by_peer
    )
    [row] = [row for row in one.engine.reports.targets(cluster.now) if row["state"] == "resting"]
    assert (row["peer"], row["next_try_s"]) == (str(other.name), None)
    assert "--degree" in row["reason"]
    return explain(one, other)


def not_dialled(cluster: Cluster) -> Explanation:
    a, b = cluster.add("a", discovery=False), cluster.add("b", discovery=False)
    c = cluster.add("c", discovery=False)
    a.connect(b)
    c.connect(b)
    cluster.run_until(cluster.meshed, within_s=5)
    return explain(a, c)


def no_address(cluster: Cluster) -> Explanation:
    a, _, c = around(cluster, endpoints=())
    cluster.run_until(cluster.meshed, within_s=5)
    return explain(a, c)


def no_route(cluster: Cluster) -> Explanation:
    a, b, c = around(cluster)
    cluster.run_until(cluster.meshed, within_s=5)
    b.crash()
    cluster.run_for(15)
    return explain(a, c)


def peer_left(cluster: Cluster) -> Explanation:
    a, b = meshed_pair(cluster)
    b.stop()
    b.up = False
    cluster.run_for(1)
    return explain(a, b)


def session_starting(cluster: Cluster) -> Explanation:
    silence(cluster)
    a, b = pair(cluster)
    cluster.run_until(lambda: bool(a.engine.routes()), within_s=1)
    return explain(a, b)


def no_udp_answer(cluster: Cluster) -> Explanation:
    silence(cluster)
    a, b = pair(cluster)
    cluster.run_for(3)
    return explain(a, b)


def no_udp_answer_though_relayed(cluster: Cluster) -> Explanation:
    a, _, c = around(cluster)
    cluster.run_for(30)
    explained = explain(a, c)
    assert ExplainCause.RELAYED in names(explained["causes"])
    assert {"address": str(c.address), "transport": "udp", "result": "no answer"} in explained[
        "attempts"
    ]
    return explained


def probes_lost(cluster: Cluster) -> Explanation:
    a, b = meshed_pair(cluster)
    silence(cluster)
    cluster.run_until(
        lambda: not a.peers, within_s=KEEPALIVE_S + STEP_IN_LATER_S + LOST_IDLE_S + 0.5
    )
    return explain(a, b)


def probe_loss(cluster: Cluster) -> Explanation:
    a, b = meshed_pair(cluster)
    silence(cluster)
    cluster.run_for(KEEPALIVE_S + STEP_IN_LATER_S)
    cluster.datagram_filter = lambda _source, _to, _data: True
    cluster.run_for(KEEPALIVE_S)
    return explain(a, b)


def mtu_mismatch(cluster: Cluster) -> Explanation:
    return explain(*meshed_pair(cluster, overlay_mtu=1400))


CASES: list[tuple[ExplainCause, Case]] = [
    (ExplainCause.DIRECT, direct),
    (ExplainCause.RELAYED, relayed),
    (ExplainCause.DIALLING, dialling),
    (ExplainCause.DIAL_FAILED, dial_failed),
    (ExplainCause.DIAL_FAILED, dial_failed_and_tried_again),
    (ExplainCause.DIAL_FAILED, relayed),
    (ExplainCause.OWN_ADDRESS, own_address),
    (ExplainCause.LINK_REFUSED, link_refused),
    (ExplainCause.LINK_REFUSED, link_refused_as_too_many),
    (ExplainCause.LINK_LOST, link_lost),
    (ExplainCause.CONN_LIMIT, conn_limit),
    (ExplainCause.NOT_NEEDED, not_needed),
    (ExplainCause.NOT_DIALLED, not_dialled),
    (ExplainCause.NO_ADDRESS, no_address),
    (ExplainCause.NO_ROUTE, no_route),
    (ExplainCause.PEER_LEFT, peer_left),
    (ExplainCause.PEER_GONE, peer_left),
    (ExplainCause.PEER_GONE, no_route),
    (ExplainCause.ON_DEMAND, on_demand),
    (ExplainCause.SESSION_STARTING, session_starting),
    (ExplainCause.NO_UDP_ANSWER, no_udp_answer),
    (ExplainCause.NO_UDP_ANSWER, no_udp_answer_though_relayed),
    (ExplainCause.PROBES_LOST, probes_lost),
    (ExplainCause.PROBE_LOSS, probe_loss),
    (ExplainCause.MTU_MISMATCH, mtu_mismatch),
]


def names(causes: list[CauseReport]) -> list[ExplainCause]:
    return [row["cause"] for row in causes]


@pytest.mark.parametrize(
    ("cause", "case"), CASES, ids=[f"{cause}-{case.__name__}" for cause, case in CASES]
)
def test_each_cause_is_named_when_it_is_so(cause: ExplainCause, case: Case) -> None:
    causes = case(Cluster(seed=7))["causes"]
    assert cause in names(causes), causes
    assert len(set(names(causes))) == len(causes)
    assert all(row["text"] and "\n" not in row["text"] for row in causes)


def test_every_cause_has_a_case() -> None:
    assert {cause for cause, _ in CASES} == set(ExplainCause)


def test_a_healthy_pair_has_no_other_cause() -> None:
    explained = direct(Cluster(seed=7))
    assert names(explained["causes"]) == [ExplainCause.DIRECT]
    assert explained["link"] == "up"
    assert explained["connection"] is not None
    assert explained["connection"]["state"] == "established"
    assert explained["route"] is not None
    assert explained["route"]["hops"] == 1
    results = {(row["transport"], row["result"]) for row in explained["attempts"]}
    assert results == {("tcp", "linked"), ("udp", "answered")}


def test_a_relayed_pair_is_told_which_way() -> None:
    explained = relayed(Cluster(seed=7))
    [text] = [r["text"] for r in explained["causes"] if r["cause"] is ExplainCause.RELAYED]
    assert text == "frames go through b, 2 links in all"
    assert explained["link"] == "down"


def test_an_address_that_nobody_dials_is_not_explained() -> None:
    cluster = Cluster(seed=7)
    a, _ = meshed_pair(cluster)
    assert a.engine.reports.explain_address("10.9.9.9", 1, cluster.now) is None


def test_an_address_whose_peer_is_known_is_explained_as_that_peer() -> None:
    a, b = meshed_pair(Cluster(seed=7))
    assert explain_address(a, b) == explain(a, b)

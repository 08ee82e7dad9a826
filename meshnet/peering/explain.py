"""Why is this pair as it is? The causes, from what the engine's tables hold (`meshnet explain`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from meshnet.discovery.targets import Target, Targets, TargetState, Trouble
from meshnet.ids import Endpoint, PeerName, Remote, join_host_port
from meshnet.peering.absences import Absences
from meshnet.peering.links import Link
from meshnet.peering.pair import Pair
from meshnet.peering.sessions import SessionKeeper
from meshnet.report import AttemptReport, CauseReport, ExplainCause
from meshnet.topology.records import PeerRecord
from meshnet.topology.routes import Route

Cause = tuple[ExplainCause, str]

_OF_TROUBLE = {
    Trouble.DIAL_FAILED: ExplainCause.DIAL_FAILED,
    Trouble.REFUSED: ExplainCause.LINK_REFUSED,
    Trouble.LINK_LOST: ExplainCause.LINK_LOST,
    Trouble.CONN_LIMIT: ExplainCause.CONN_LIMIT,
    Trouble.NO_ROOM: ExplainCause.LINK_REFUSED,
    Trouble.UNNEEDED: ExplainCause.NOT_NEEDED,
    Trouble.OURSELVES: ExplainCause.OWN_ADDRESS,
}


class Tables(NamedTuple):
    """What an engine knows, to be read only."""

    overlay_mtu: int
    records: Mapping[PeerName, PeerRecord]
    linked: Mapping[PeerName, Link]
    sessions: SessionKeeper
    targets: Targets
    routes: Mapping[PeerName, Route]
    absences: Absences


def causes_of_peer(tables: Tables, peer: PeerName, now: float) -> list[CauseReport]:
    """Why ``peer`` is connected as it is; at least one."""
    pair, record = tables.sessions.pair(peer), tables.records.get(peer)
    causes = [*_of_session(tables, pair)]
    if peer in tables.routes and tables.sessions.on_demand and (pair is None or pair.at_rest):
        causes = [(ExplainCause.ON_DEMAND, "no session yet: set up when frames flow")]
    if peer not in tables.linked:
        known = {cause for cause, _ in causes}
        causes += [row for row in _of_missing_link(tables, peer, now) if row[0] not in known]
    if record is not None and record.overlay_mtu != tables.overlay_mtu:
        theirs = f"{tables.overlay_mtu} here, {record.overlay_mtu} there"
        mismatch = f"the overlay MTU differs: {theirs}; give both ends the same --mtu"
        causes.append((ExplainCause.MTU_MISMATCH, mismatch))
    if not causes:
        causes.append((ExplainCause.DIRECT, "linked, and frames take the direct path"))
    return [{"cause": cause, "text": text} for cause, text in causes]


def causes_of_target(tables: Tables, target: Target, now: float) -> list[CauseReport]:
    """Why nobody is linked yet at an address being dialled."""
    return [{"cause": cause, "text": text} for cause, text in [_of_target(tables, target, now)]]


def attempts(targets: list[Target], pair: Pair | None) -> list[AttemptReport]:
    """The addresses tried, and what each gave."""
    rows: list[AttemptReport] = [
        {"address": join_host_port(*address), "transport": "tcp", "result": result}
        for target in targets
        for address, result in target.results.items()
    ]
    for remote, result in pair.calls.items() if pair is not None else ():
        rows.append({"address": _where(remote), "transport": "udp", "result": result})
    return rows


def _of_session(tables: Tables, pair: Pair | None) -> Iterator[Cause]:
    if pair is None:
        return
    silent = [str(at) for at in pair.direct if pair.calls.get(at) == "no answer"]
    if pair.current is None and pair.former:
        yield ExplainCause.PROBES_LOST, pair.reason or "the session was given up"
    if pair.path == "direct":
        if pair.loss:
            lost = f"{pair.loss:.0%} of the last {len(pair.outcomes)} probes were lost"
            yield ExplainCause.PROBE_LOSS, lost
        return
    if pair.path == "relay":
        yield ExplainCause.RELAYED, f"frames go through {_next_hop(tables, pair.peer)}"
    if not pair.direct:
        yield ExplainCause.NO_ADDRESS, "it announces no address to call; it has to call us"
    elif silent:
        told = f"no answer by UDP from {', '.join(silent)}; is UDP open between the two?"
        yield ExplainCause.NO_UDP_ANSWER, told
    elif pair.path == "":
        yield ExplainCause.SESSION_STARTING, pair.reason or "the data session is being set up"


def _of_missing_link(tables: Tables, peer: PeerName, now: float) -> Iterator[Cause]:
    targets, record = tables.targets.of_peer(peer), tables.records.get(peer)
    if targets:
        yield _of_target(tables, targets[0], now)
    elif record is not None and not record.endpoints:
        yield ExplainCause.NO_ADDRESS, "it announces no address to dial; it has to dial us"
    else:
        told = "no target: without discovery it has to be given, or to dial us"
        yield ExplainCause.NOT_DIALLED, told
    if peer not in tables.routes:
        if record is not None and not record.links:
            yield ExplainCause.PEER_LEFT, "it has stopped, or has lost all its links"
        elif record is not None:
            yield ExplainCause.NO_ROUTE, "no peer that we reach has a link to it"
    absence = tables.absences.get(peer)
    if absence is not None:
        gone = f"gone for {now - absence.since:.0f} s"
        kept = (
            f", forgotten in {max(0.0, absence.until - now):.0f} s"
            if absence.until is not None
            else ""
        )
        yield ExplainCause.PEER_GONE, f"{gone}{kept}, or at once by meshnet rmpeer"


def _of_target(tables: Tables, target: Target, now: float) -> Cause:
    if target.trouble is None:
        return ExplainCause.DIALLING, f"{target} is being dialled"
    if target.state is TargetState.CONNECTING:
        # The reason may be of another of its addresses than the one being dialled.
        again = f"{target.reason} (being tried again at {target})"
        return _OF_TROUBLE[target.trouble], again
    if target.trouble is Trouble.UNNEEDED:
        return ExplainCause.NOT_NEEDED, target.reason
    next_try = tables.targets.next_try(target)
    again = f"; next try in {max(0.0, next_try - now):.1f} s" if next_try is not None else ""
    return _OF_TROUBLE[target.trouble], f"{target}: {target.reason}{again}"


def _next_hop(tables: Tables, peer: PeerName) -> str:
    route = tables.routes.get(peer)
    if route is None:
        return "a peer that has just gone"
    via = tables.records.get(route.via)
    name = (via.nickname if via is not None else "") or str(route.via)
    return f"{name}, {route.hops} links in all"


def _where(remote: Remote) -> str:
    return str(remote) if isinstance(remote, Endpoint) else "through other peers"

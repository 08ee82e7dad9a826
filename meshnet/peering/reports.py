"""The engine's tables as `meshnet report` shows them: plain values, nothing decided here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from meshnet import report
from meshnet.discovery.targets import Target, Targets, TargetState, Trouble
from meshnet.gossip.replica import Replica
from meshnet.ids import Endpoint, PeerName, join_host_port
from meshnet.peering.absences import Absences
from meshnet.peering.explain import Tables, attempts, causes_of_peer, causes_of_target
from meshnet.peering.links import Link
from meshnet.peering.pair import Pair
from meshnet.peering.routing import Router
from meshnet.peering.sessions import SessionKeeper
from meshnet.topology.records import PeerRecord


class Reporter:
    """Reads the tables of one engine, which it shares."""

    def __init__(
        self,
        name: PeerName,
        overlay_mtu: int,
        records: Mapping[PeerName, PeerRecord],
        linked: Mapping[PeerName, Link],
        sessions: SessionKeeper,
        targets: Targets,
        replica: Replica,
        router: Router,
        absences: Absences,
    ) -> None:
        self._name = name
        self._overlay_mtu = overlay_mtu
        self._records = records
        self._linked = linked
        self._sessions = sessions
        self._targets = targets
        self._replica = replica
        self._router = router
        self._absences = absences

    def connections(self) -> list[report.ConnectionReport]:
        """Peers that are linked, peers reached through others, and addresses being dialled."""
        rows = [self._linked_report(link) for link in self._linked.values()]
        # Who is at rest has no connection: it gets one when frames flow.
        rows += [
            self._relayed_report(pair)
            for pair in self._sessions
            if pair.peer not in self._linked and not pair.at_rest
        ]
        # A peer that was configured and heard of is one row; the address a user gave has the say.
        seen = {*self._linked, *(pair.peer for pair in self._sessions)}
        for target in sorted(self._targets, key=lambda target: not target.configured):
            if target.state is TargetState.RESTING:
                continue
            if target.peer is not None:
                if target.peer in seen:
                    continue
                seen.add(target.peer)
            rows.append(self._target_report(target))
        return rows

    def peers(self, now: float) -> list[report.PeerReport]:
        """All peers known, with the links they announce; a link counts when both ends do."""
        established = {
            self._name,
            *(pair.peer for pair in self._sessions if pair.current is not None),
            *(self._router.routes if self._sessions.on_demand else ()),
        }
        announced = {name: record.links for name, record in self._records.items()}
        return [
            {
                "name": str(record.name),
                "nickname": record.nickname,
                "reachable": record.name in established,
                "gone": self._gone(record, now),
                "connections": [
                    {"name": str(other), "established": record.name in announced.get(other, ())}
                    for other in sorted(record.links)
                ],
            }
            for record in self._records.values()
        ]

    def _gone(self, record: PeerRecord, now: float) -> report.GoneReport | None:
        absence = self._absences.get(record.name)
        if absence is None:
            return None
        seen: Literal["lost", "not_seen"] = "lost" if absence.was_here else "not_seen"
        return {
            # Who stops says so by a record without links.
            "reason": seen if record.links else "goodbye",
            "for_s": round(now - absence.since, 3),
            "forgotten_in_s": (
                round(max(0.0, absence.until - now), 3) if absence.until is not None else None
            ),
        }

    def route_list(self) -> list[report.RouteReport]:
        """The way to every peer that can be reached."""
        return [
            {"peer": str(peer), "via": str(route.via), "hops": route.hops, "cost": route.cost}
            for peer, route in sorted(self._router.routes.items())
        ]

    def channels(self) -> list[report.ChannelReport]:
        """All replicated state, whether its type is known here or only passed on."""
        replica = self._replica
        return [
            {
                "name": channel.name,
                "type": channel.type,
                "entries": sum(len(part.tree) for part in replica.channel(channel).values()),
                "digest": replica.digest(channel).hex(),
            }
            for channel in replica.channels()
        ]

    def targets(self, now: float) -> list[report.TargetReport]:
        """Everything that is dialled, what users gave first."""
        rows: list[report.TargetReport] = []
        for target in sorted(self._targets, key=lambda target: not target.configured):
            record = self._records.get(target.peer) if target.peer is not None else None
            next_try = self._targets.next_try(target)
            rows.append(
                {
                    "address": str(target),
                    "addresses": [join_host_port(*address) for address in target.addresses],
                    "given": target.configured,
                    "peer": str(target.peer) if target.peer is not None else "",
                    "nickname": record.nickname if record is not None else "",
                    "state": target.state.value,
                    "failures": target.failures_in_a_row,
                    "next_try_s": round(max(0.0, next_try - now), 3) if next_try else None,
                    "reason": target.reason,
                }
            )
        return rows

    def explain(self, peer: PeerName, now: float) -> report.Explanation:
        """Why ``peer`` is connected as it is, or is not."""
        tables, record = self._tables(), self._records.get(peer)
        rows = [row for row in self.connections() if row["peer"] == str(peer)]
        routes = [row for row in self.route_list() if row["peer"] == str(peer)]
        return {
            "peer": str(peer),
            "nickname": record.nickname if record is not None else "",
            "causes": causes_of_peer(tables, peer, now),
            "link": "up" if peer in self._linked else "down",
            "connection": rows[0] if rows else None,
            "route": routes[0] if routes else None,
            "attempts": attempts(self._targets.of_peer(peer), self._sessions.pair(peer)),
        }

    def explain_address(self, host: str, port: int, now: float) -> report.Explanation | None:
        """The same by an address being dialled; None when it is not."""
        found = [target for target in self._targets if (host, port) in target.addresses]
        if not found:
            return None
        target = found[0]
        if target.peer is not None:
            return self.explain(target.peer, now)
        ours = self._records.get(self._name) if target.trouble is Trouble.OURSELVES else None
        return {
            "peer": str(ours.name) if ours is not None else "",
            "nickname": ours.nickname if ours is not None else "",
            "causes": causes_of_target(self._tables(), target, now),
            "link": "down",
            "connection": self._target_report(target),
            "route": None,
            "attempts": attempts([target], None),
        }

    def _tables(self) -> Tables:
        return Tables(
            self._overlay_mtu,
            self._records,
            self._linked,
            self._sessions,
            self._targets,
            self._router.routes,
            self._absences,
        )

    def _linked_report(self, link: Link) -> report.ConnectionReport:
        peer = link.peer
        assert peer is not None, "links in _by_peer are authenticated"
        row = self._pair_report(peer, str(link.remote))
        row["direction"] = "outbound" if link.outbound else "inbound"
        return row

    def _pair_report(self, peer: PeerName, address: str) -> report.ConnectionReport:
        """A peer that is linked, or reached through others; ``address`` is shown unless direct."""
        pair = self._sessions.pair(peer)
        record = self._records.get(peer)
        session = pair.current if pair is not None else None
        mtu = record.overlay_mtu if record is not None else None
        reason = pair.reason if pair is not None else ""
        if not reason and mtu is not None and mtu != self._overlay_mtu:
            reason = f"overlay MTU differs: {self._overlay_mtu} here, {mtu} there"
        direct = session is not None and isinstance(session.remote, Endpoint)
        return {
            "peer": str(peer),
            "nickname": record.nickname if record is not None else "",
            "address": str(session.remote) if session is not None and direct else address,
            "direction": "outbound" if self._name < peer else "inbound",
            "state": "established" if session is not None else "connecting",
            "reason": reason,
            "path": pair.path if pair is not None else "",
            "encrypted": session is None or not session.is_clear,
            "cipher": session.cipher_name if session is not None else "",
            "rtt_ms": round(pair.rtt_s * 1e3, 3) if pair and pair.rtt_s is not None else None,
            "loss": round(pair.loss, 3) if pair and pair.loss is not None else None,
            "mtu": mtu,
        }

    def _relayed_report(self, pair: Pair) -> report.ConnectionReport:
        route = self._router.routes.get(pair.peer)
        via = self._records.get(route.via) if route is not None else None
        return self._pair_report(pair.peer, f"via {via.nickname or via.name}" if via else "")

    def _target_report(self, target: Target) -> report.ConnectionReport:
        record = self._records.get(target.peer) if target.peer is not None else None
        states: dict[TargetState, report.ConnectionState] = {
            TargetState.CONNECTING: "connecting",
            TargetState.FAILED: "failed",
        }
        return {
            "peer": str(target.peer) if target.peer is not None else "",
            "nickname": record.nickname if record is not None else "",
            "address": str(target),
            "direction": "outbound",
            "state": states.get(target.state, "retrying"),
            "reason": target.reason,
            "path": "",
            "encrypted": False,
            "cipher": "",
            "rtt_ms": None,
            "loss": None,
            "mtu": record.overlay_mtu if record is not None else None,
        }

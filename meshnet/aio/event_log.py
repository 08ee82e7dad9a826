"""Events as log lines: one constant message per kind, what differs in fields (CONTRIBUTING.md).

What strangers can cause at will is limited in rate, and says how much was left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from meshnet.errors import CloseCode
from meshnet.events import (
    AddressConflict,
    ChannelChanged,
    ContentIgnored,
    DialFailed,
    Event,
    FloodLimited,
    IdentityConflict,
    LinkEstablished,
    LinkLost,
    LinkRefused,
    LoopSuspected,
    MessageAnswered,
    MessageReceived,
    MtuDiffered,
    PeerDiscovered,
    PeerRemoved,
    ProbeAnswered,
    SessionEstablished,
    SessionLost,
    SessionMoved,
    SessionRenewed,
    SessionRested,
    UpdatesKept,
    UpdatesLost,
)
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.buckets import TokenBuckets

# Our choice, for each kind of line: enough to see what goes on, too little to fill a disk.
_BURST = 20.0
_LINES_PER_S = 0.2

_log = logging.getLogger("meshnet")


class EventLog:
    """Writes the events of one mesh. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: TokenBuckets[str] = TokenBuckets(_LINES_PER_S, _BURST)
        self._suppressed: Counter[str] = Counter()
        self._met_ourselves = False

    def write(self, event: Event) -> None:
        match event:
            case LinkEstablished(peer, remote, outbound):
                fields = {"peer": peer.short, "addr": str(remote), "outbound": outbound}
                _log.info("link established", extra=fields)
            case LinkLost(peer, reason):
                _log.info("link lost", extra={"peer": peer.short, "reason": reason})
            case LinkRefused():
                self._link_refused(event)
            case DialFailed(address, reason, failures):
                # Retries go on for ever; the first one is news.
                level = logging.INFO if failures == 1 else logging.DEBUG
                _log.log(level, "dial failed", extra={"addr": address, "reason": reason})
            case PeerDiscovered(peer, nickname, remembered):
                said = "peer known from before" if remembered else "peer discovered"
                _log.info(said, extra={"peer": peer.short, "nickname": nickname})
            case PeerRemoved(peer, nickname, channel, by):
                fields = {"peer": peer.short, "nickname": nickname}
                fields |= {"channel": channel.name, "remover": by.short}
                self._tell_seldom(
                    "peer left for good" if by == peer else "peer removed", fields, logging.INFO
                )
            case ContentIgnored(source, drop, text):
                fields = {"peer": source.short, "reason": drop.value, "text": text}
                self._warn_seldom("content ignored", fields)
            case IdentityConflict(peer):
                self._warn_seldom("one identity on two hosts", {"peer": peer.short})
            case MtuDiffered(peer, ours, theirs):
                reason = f"{ours} here, {theirs} there; give both ends the same --mtu"
                self._warn_seldom("overlay MTU differs", {"peer": peer.short, "reason": reason})
            case SessionEstablished(peer, remote, cipher):
                addr = str(remote) if isinstance(remote, Endpoint) else "through other peers"
                fields = {"peer": peer.short, "addr": addr, "cipher": cipher}
                _log.info("session established", extra=fields)
            case SessionRenewed(peer, cipher):
                _log.debug("session renewed", extra={"peer": peer.short, "cipher": cipher})
            case SessionMoved(peer, remote):
                self._tell_seldom("peer moved", {"peer": peer.short, "addr": str(remote)})
            case SessionLost(peer, reason):
                _log.info("session lost", extra={"peer": peer.short, "reason": reason})
            case SessionRested(peer):
                _log.debug("session rested", extra={"peer": peer.short})
            case AddressConflict(address, ((mac, peer), (other_mac, other))):
                fields = {"address": address, "mac": mac, "side": _side(peer)}
                fields |= {"other_mac": other_mac, "other_side": _side(other)}
                self._warn_seldom("address conflict", fields)
            case FloodLimited(side):
                self._warn_seldom("too much broadcast", {"side": _side(side)})
            case LoopSuspected(mac):
                self._warn_seldom("loop suspected", {"mac": mac})
            case (
                ProbeAnswered()
                | MessageReceived()
                | MessageAnswered()
                | ChannelChanged()
                | UpdatesKept()
                | UpdatesLost()
            ):
                pass  # For who asked.

    def _link_refused(self, event: LinkRefused) -> None:
        if event.code is CloseCode.SELF:
            # We have dialled ourselves, often by a list that is the same on every host. Once is
            # news, at one of the two ends that are both ours.
            if event.outbound and not self._met_ourselves:
                self._met_ourselves = True
                left_out = {"addr": str(event.remote), "reason": event.reason}
                _log.info("own address left out", extra=left_out)
            return
        by = "us"
        if event.by_peer:
            by = "the other end (unauthenticated)"
        elif event.code is None:
            by = "nobody: the connection ended"
        fields: dict[str, Any] = {
            "addr": str(event.remote),
            "outbound": event.outbound,
            "reason": event.reason,
            "by": by,
        }
        if event.outbound:
            _log.warning("link refused", extra=fields)
        else:
            self._warn_seldom("link refused", fields)

    def _warn_seldom(self, message: str, fields: dict[str, Any]) -> None:
        self._tell_seldom(message, fields, logging.WARNING)

    def _tell_seldom(self, message: str, fields: dict[str, Any], level: int = logging.INFO) -> None:
        """What others can cause at will: at most `_BURST` in a row, `_LINES_PER_S` after that.

        Each kind by itself: who makes one at will cannot hide another so.
        """
        if not self._lines.take(message, 1.0, self._clock()):
            self._suppressed[message] += 1
            return
        if suppressed := self._suppressed.pop(message, 0):
            fields["suppressed"] = suppressed
        _log.log(level, message, extra=fields)


def _side(peer: PeerName | None) -> str:
    return peer.short if peer is not None else "local"

"""What hypothesis can draw for tests of code that meets meshnet.

Needs hypothesis, which is not among meshnet's own dependencies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from meshnet.ids import PEER_NAME_BYTES, Endpoint, PeerName
from meshnet.testing.emulator import BurstLoss, Conditions
from meshnet.testing.faults import Fault, FaultKind
from meshnet.wire.cursor import is_clean

Chunking = Callable[[bytes], Iterable[bytes]]
"""How a stream falls into pieces on its way."""

# From wire.md section 6.4.
_MAX_NICKNAME_BYTES = 64
_ETHERNET_MIN_PAYLOAD_BYTES = 46
_SHARES = st.floats(0.0, 1.0)


def peer_names() -> st.SearchStrategy[PeerName]:
    """Names of peers; of no key that anyone knows."""
    return st.binary(min_size=PEER_NAME_BYTES, max_size=PEER_NAME_BYTES).map(PeerName)


def ports() -> st.SearchStrategy[int]:
    """Port numbers that can be dialled."""
    return st.integers(1, 65535)


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Addresses a peer may announce, IPv4 and IPv6."""
    return st.builds(
        lambda address, port: Endpoint.of(str(address), port),
        st.ip_addresses().filter(_is_a_peers),
        ports(),
        # Again, since an IPv4 address in IPv6 clothes comes out as what it is.
    ).filter(lambda endpoint: _is_a_peers(ipaddress.ip_address(endpoint.host)))


def nicknames() -> st.SearchStrategy[str]:
    """What a peer may call itself."""
    return st.text(st.characters(codec="utf-8"), max_size=_MAX_NICKNAME_BYTES).filter(
        lambda text: is_clean(text) and len(text.encode()) <= _MAX_NICKNAME_BYTES
    )


def macs() -> st.SearchStrategy[bytes]:
    """Unicast, locally administered MAC addresses: few, so that some meet again."""
    return st.integers(1, 40).map(lambda number: b"\x02" + number.to_bytes(5, "big"))


def frames(max_payload_bytes: int = 1376) -> st.SearchStrategy[bytes]:
    """Ethernet frames to one station or to all, of any type, with at least the least payload."""
    return st.builds(
        lambda to, source, ethertype, payload: to + source + ethertype.to_bytes(2, "big") + payload,
        st.just(b"\xff" * 6) | macs(),
        macs(),
        st.integers(0x0600, 0xFFFF),
        st.binary(min_size=_ETHERNET_MIN_PAYLOAD_BYTES, max_size=max_payload_bytes),
    )


def chunkings() -> st.SearchStrategy[Chunking]:
    """Ways to cut a stream, for whoever must not care."""
    return st.lists(st.integers(1, 80), min_size=1, max_size=30).map(_chunker)


def conditions() -> st.SearchStrategy[Conditions]:
    """What a way may do to what passes, from nothing to everything at once."""
    return st.builds(
        Conditions,
        delay_s=st.floats(0.0, 0.5),
        jitter_s=st.floats(0.0, 0.5),
        loss=_SHARES,
        burst_loss=st.none() | st.builds(BurstLoss, enter=_SHARES, leave=st.floats(0.01, 1.0)),
        duplicate=_SHARES,
        reorder=_SHARES,
        rate_bytes_per_s=st.none() | st.floats(1e3, 1e9),
        queue_bytes=st.integers(0, 1_000_000),
        segment_bytes=st.none() | st.integers(1, 1500),
    )


def fault_schedules(
    *, hosts: int, duration_s: float, max_faults: int = 6
) -> st.SearchStrategy[list[Fault]]:
    """Lists of faults among ``hosts``; they shrink to the few that matter."""
    number = st.integers(0, hosts - 1)
    times = st.floats(0.0, duration_s).map(lambda at_s: round(at_s, 3))
    pairs = st.tuples(number, number).filter(lambda pair: pair[0] != pair[1])
    between_two = [
        FaultKind.CUT,
        FaultKind.CUT_ONE_WAY,
        FaultKind.CUT_UDP,
        FaultKind.RESET,
    ]
    of_one = [
        FaultKind.CRASH,
        FaultKind.CRASH_SILENTLY,
        FaultKind.RESTART,
        FaultKind.LOSE_DISK,
        FaultKind.SET_BACK,
        FaultKind.LEAVE,
    ]
    some = (
        st.builds(Fault, st.sampled_from(of_one), times, times, st.tuples(number))
        | st.builds(Fault, st.sampled_from(between_two), times, times, pairs)
        | st.builds(
            Fault,
            st.just(FaultKind.PARTITION),
            times,
            times,
            st.sets(number, min_size=1, max_size=max(1, hosts - 1)).map(lambda s: tuple(sorted(s))),
        )
        | st.builds(
            Fault,
            st.just(FaultKind.IMPAIR),
            times,
            times,
            pairs,
            st.fixed_dictionaries(
                {},
                optional={
                    "loss": st.floats(0.0, 0.5),
                    "delay_s": st.floats(0.0, 0.3),
                    "duplicate": _SHARES,
                    "reorder": _SHARES,
                    "segment_bytes": st.integers(1, 200),
                },
            ),
        )
    )
    return st.lists(some, max_size=max_faults)


def _is_a_peers(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    broadcast = ipaddress.IPv4Address("255.255.255.255")
    return not (address.is_multicast or address.is_unspecified or address == broadcast)


def _chunker(sizes: list[int]) -> Chunking:
    def chunks(data: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(data):
            size = sizes[at % len(sizes)]
            yield data[at : at + size]
            at += size

    return chunks

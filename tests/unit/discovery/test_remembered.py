"""Addresses kept across restarts: bounded, and refused with the reason."""

from __future__ import annotations

import functools

import pytest

from meshnet.discovery.remembered import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_PER_PEER,
    Remembered,
    RememberedAddress,
    pack_remembered,
    parse_remembered,
    remember,
)
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError


def test_one_peer_is_remembered_by_its_last_addresses() -> None:
    peer = PeerName(b"p" * 16)
    nothing: Remembered = ()
    known = functools.reduce(
        remember, (RememberedAddress("host", port, peer) for port in range(1, 20)), nothing
    )
    assert [one.port for one in known] == [19, 18, 17, 16]
    assert len(known) == MAX_REMEMBERED_PER_PEER


def test_the_oldest_is_forgotten_at_the_bound() -> None:
    known = tuple(RememberedAddress("host", port, None) for port in range(1, MAX_REMEMBERED + 1))
    new = RememberedAddress("new", 1, None)
    after = remember(known, new)
    assert after == (new, *known[:-1])
    assert parse_remembered(pack_remembered(after)) == after
    with pytest.raises(ValueError, match="1025 remembered"):
        pack_remembered((*known, new))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([("", 1)], "no host"),
        ([("two words", 1)], "no host"),
        ([("host", 0)], "port 0"),
        ([("host", 65536)], "port 65536"),
        ([("x" * 254, 1)], "at most 253"),
        ([("line\nfeed", 1)], "control characters"),
        ([("host", 1), ("host", 1)], "stands twice"),
    ],
)
def test_what_could_not_be_read_back_is_not_packed(known: list[tuple[str, int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pack_remembered(tuple(RememberedAddress(host, port, None) for host, port in known))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "wanted"),
        (b"\x02\x00\x00", "format 2"),
        (b"\x01\x00\x00\x00", "too many"),
        (b"\x01\x04\x01", "1025 remembered"),
        (b"\x01\x00\x01\x02", "neither a peer nor none"),
        (b"\x01\x00\x01\x00\x00\x00\x01", "no host"),
        (b"\x01\x00\x01\x00\x01h\x00\x00", "port 0"),
        (b"\x01\x00\x02" + b"\x00\x01h\x00\x01" * 2, "stands twice"),
        (
            b"\x01\x00\x05"
            + b"".join(b"\x01" + b"p" * 16 + b"\x01h\x00" + bytes((n,)) for n in range(1, 6)),
            "too many addresses of one peer",
        ),
    ],
)
def test_malformed_bytes_are_refused_with_the_reason(raw: bytes, said: str) -> None:
    with pytest.raises(MalformedError, match=said):
        parse_remembered(raw)

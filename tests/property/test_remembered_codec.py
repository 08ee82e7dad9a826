"""Remembered addresses: none twice, and bytes that say exactly one list."""

from __future__ import annotations

import contextlib
import functools

from hypothesis import example, given
from hypothesis import strategies as st

from meshnet.discovery.remembered import (
    Remembered,
    RememberedAddress,
    forget,
    pack_remembered,
    parse_remembered,
    remember,
)
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError, is_clean
from support.samples import flip
from support.strategies import ENDPOINTS, PORTS

HOSTS = (
    ENDPOINTS.map(lambda endpoint: endpoint.host)
    | st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
    | st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(
        lambda text: is_clean(text) and " " not in text
    )
)
NAMES = st.sampled_from([PeerName(bytes((number,)) * 16) for number in range(4)])
ADDRESSES = st.builds(
    RememberedAddress,
    HOSTS,
    PORTS,
    st.none() | NAMES,
)
NOTHING: Remembered = ()


def remembered(addresses: list[RememberedAddress]) -> Remembered:
    return functools.reduce(remember, addresses, NOTHING)


LISTS = st.lists(ADDRESSES, max_size=20).map(remembered)


@given(LISTS)
def test_what_is_packed_is_read_back(known: Remembered) -> None:
    assert parse_remembered(pack_remembered(known)) == known


@given(st.binary(max_size=200))
@example(b"\x01\x00\x00")
def test_any_bytes_are_one_list_or_malformed(raw: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert pack_remembered(parse_remembered(raw)) == raw


@given(LISTS.map(pack_remembered), st.data())
def test_a_changed_bit_is_another_list_or_malformed(raw: bytes, data: st.DataObject) -> None:
    changed = flip(raw, data.draw(st.integers(0, 8 * len(raw) - 1)))
    with contextlib.suppress(MalformedError):
        assert pack_remembered(parse_remembered(changed)) == changed


@given(LISTS, ADDRESSES)
def test_the_last_address_stands_first_and_none_stands_twice(
    known: Remembered, address: RememberedAddress
) -> None:
    after = remember(known, address)
    assert after[0] == address
    places = [(one.host, one.port) for one in after]
    assert len(set(places)) == len(places)
    assert set(after[1:]) <= set(known)
    assert list(after[1:]) == [one for one in known if one in after[1:]], "the order stays"
    assert remember(after, address) == after
    lost = [one for one in known if (one.host, one.port) not in places]
    assert all(one.peer is not None and one.peer == address.peer for one in lost), (
        "a peer pushes out its own addresses only"
    )


@given(LISTS, NAMES)
def test_a_peer_that_is_forgotten_leaves_the_others(known: Remembered, peer: PeerName) -> None:
    after = forget(known, peer)
    assert peer not in {one.peer for one in after}
    assert set(known) - set(after) == {one for one in known if one.peer == peer}

"""Sealed datagrams: every byte counts, no nonce comes twice."""

from __future__ import annotations

import pytest

from meshnet.errors import AuthenticationError
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.datagram import HEADER, HEADER_BYTES, DatagramType
from support.samples import flip, session_pair

PAYLOAD = b"some parts"


@pytest.mark.parametrize("cipher", CipherId)
def test_both_directions_open_what_the_other_sealed(cipher: CipherId) -> None:
    alice, bob = session_pair(cipher)
    for sender, receiver in ((alice, bob), (bob, alice)):
        datagram = sender.seal(PAYLOAD)
        assert len(datagram) == HEADER_BYTES + len(PAYLOAD) + CIPHERS[cipher].tag_bytes
        assert PAYLOAD not in datagram
        assert receiver.open(datagram) == PAYLOAD


@pytest.mark.parametrize("cipher", CipherId)
def test_a_datagram_names_the_index_of_its_receiver(cipher: CipherId) -> None:
    alice, bob = session_pair(cipher)
    assert HEADER.unpack_from(alice.seal(PAYLOAD)) == (DatagramType.DATA, 0, 0, bob.our_index, 0)


@pytest.mark.parametrize("cipher", CipherId)
def test_any_changed_bit_fails_to_open(cipher: CipherId) -> None:
    alice, bob = session_pair(cipher)
    datagram = alice.seal(PAYLOAD)
    for bit in range(8 * len(datagram)):
        with pytest.raises(AuthenticationError):
            bob.open(flip(datagram, bit))
    assert bob.open(datagram) == PAYLOAD


@pytest.mark.parametrize("cipher", CipherId)
def test_cut_off_datagrams_fail_to_open(cipher: CipherId) -> None:
    alice, bob = session_pair(cipher)
    datagram = alice.seal(PAYLOAD)
    for size in range(len(datagram)):
        with pytest.raises(AuthenticationError):
            bob.open(datagram[:size])


@pytest.mark.parametrize("cipher", CipherId)
def test_a_datagram_does_not_open_where_it_came_from(cipher: CipherId) -> None:
    alice, _ = session_pair(cipher)
    with pytest.raises(AuthenticationError):
        alice.open(alice.seal(PAYLOAD))


@pytest.mark.parametrize("cipher", CipherId)
def test_neither_counter_nor_nonce_ever_repeats(cipher: CipherId) -> None:
    alice, _ = session_pair(cipher)
    headers = [alice.seal(PAYLOAD)[:HEADER_BYTES] for _ in range(1000)]
    counters = [HEADER.unpack(header)[4] for header in headers]
    assert counters == list(range(1000))
    assert len({header[-CIPHERS[cipher].nonce_bytes :] for header in headers}) == 1000


def test_each_authentic_counter_is_fresh_once() -> None:
    alice, bob = session_pair()
    counters = [HEADER.unpack_from(alice.seal(PAYLOAD))[4] for _ in range(5)]
    assert [bob.fresh(counter) for counter in reversed(counters)] == [True] * 5
    assert [bob.fresh(counter) for counter in counters] == [False] * 5


def test_no_key_is_in_the_repr() -> None:
    alice, _ = session_pair()
    for key in (alice.send_key, alice.receive_key):
        assert key.hex() not in repr(alice)
        assert repr(key) not in repr(alice)

"""The marks before a first message: cheap to judge, bound to key, address and time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.errors import AuthenticationError
from meshnet.ids import Endpoint
from meshnet.wire.cookies import (
    COOKIE_LIFE_S,
    COOKIE_REPLY_BYTES,
    CookieJar,
    mark,
    read_cookie_reply,
    with_proof,
)
from meshnet.wire.datagram import HEADER, HEADER_BYTES, DatagramType
from support.samples import ALICE, BOB, endpoint, flip, rng

INDEX = 0x01020304
HEAD = HEADER.pack(DatagramType.INITIATION, 0, 0, INDEX, 0)
TO_BOB = mark(HEAD, b"noise message" * 9, BOB.static.public)
AT = endpoint(1)


def jar() -> CookieJar:
    return CookieJar(BOB.static.public, rng("jar"))


def cookie_from(bob: CookieJar, at: Endpoint = AT, now: float = 0.0) -> bytes:
    return read_cookie_reply(bob.reply(TO_BOB, at, now), TO_BOB, BOB.static.public)


def test_only_who_knows_the_key_can_mark() -> None:
    assert jar().is_marked(TO_BOB)
    assert not jar().is_marked(mark(HEAD, b"noise message" * 9, ALICE.static.public))


@given(st.integers(0, 8 * len(TO_BOB) - 1))
def test_a_changed_datagram_is_no_longer_marked_or_proved(bit: int) -> None:
    bob = jar()
    proved = with_proof(TO_BOB, cookie_from(bob))
    assert bob.is_marked(proved)
    assert bob.is_proved(proved, AT, 1.0)
    changed = flip(proved, bit)
    assert not (bob.is_marked(changed) and bob.is_proved(changed, AT, 1.0))


def test_a_cookie_proves_one_address_only() -> None:
    bob = jar()
    proved = with_proof(TO_BOB, cookie_from(bob))
    assert bob.is_proved(proved, AT, 0.0)
    assert not bob.is_proved(proved, Endpoint(AT.host, AT.port + 1), 0.0)
    assert not bob.is_proved(proved, endpoint(2), 0.0)


def test_a_cookie_is_good_until_the_secret_changes() -> None:
    bob = jar()
    proved = with_proof(TO_BOB, cookie_from(bob, now=100.0))
    assert bob.is_proved(proved, AT, 100.0 + COOKIE_LIFE_S - 0.1)
    assert not bob.is_proved(proved, AT, 100.0 + COOKIE_LIFE_S)
    again = with_proof(TO_BOB, cookie_from(bob, now=100.0 + COOKIE_LIFE_S))
    assert bob.is_proved(again, AT, 100.0 + COOKIE_LIFE_S)


def test_nothing_is_no_proof() -> None:
    assert not jar().is_proved(TO_BOB, AT, 0.0)


def test_a_cookie_of_another_peer_is_no_proof() -> None:
    other = CookieJar(BOB.static.public, rng("another secret"))
    assert not jar().is_proved(with_proof(TO_BOB, cookie_from(other)), AT, 0.0)


def test_the_reply_is_shorter_than_the_question_and_names_it() -> None:
    reply = jar().reply(TO_BOB, AT, 0.0)
    assert len(reply) == COOKIE_REPLY_BYTES < len(TO_BOB)
    kind, _, _, index, _ = HEADER.unpack_from(reply)
    assert (kind, index) == (DatagramType.COOKIE_REPLY, INDEX)


def test_the_reply_is_of_no_use_to_who_has_not_seen_the_question() -> None:
    reply = jar().reply(TO_BOB, AT, 0.0)
    other = mark(HEAD, b"another message", BOB.static.public)
    with pytest.raises(AuthenticationError):
        read_cookie_reply(reply, other, BOB.static.public)


@pytest.mark.parametrize("size", [HEADER_BYTES, COOKIE_REPLY_BYTES - 1, COOKIE_REPLY_BYTES + 1])
def test_a_reply_of_another_length_is_refused(size: int) -> None:
    reply = jar().reply(TO_BOB, AT, 0.0).ljust(size, b"\0")[:size]
    with pytest.raises(AuthenticationError):
        read_cookie_reply(reply, TO_BOB, BOB.static.public)


@given(st.integers(8 * HEADER_BYTES, 8 * COOKIE_REPLY_BYTES - 1))
def test_a_changed_reply_is_refused(bit: int) -> None:
    with pytest.raises(AuthenticationError):
        read_cookie_reply(flip(jar().reply(TO_BOB, AT, 0.0), bit), TO_BOB, BOB.static.public)

"""Any bytes as an INITIATION or a COOKIE_REPLY are marked, proved or opened, or none of it.

The first byte chooses: the rest is an INITIATION as it stands, one that is given a good mac (or a
good proof besides), or a COOKIE_REPLY.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan
from meshnet.errors import AuthenticationError
from meshnet.wire.cookies import (
    COOKIE_LIFE_S,
    COOKIE_REPLY_BYTES,
    CookieJar,
    mark,
    read_cookie_reply,
    with_proof,
    write_cookie_reply,
)
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, HEADER_BYTES, MAC_BYTES, DatagramType
from support.samples import BOB, CAROL, endpoint, rng

COVERS = ("meshnet.wire.cookies",)

_AS_IT_STANDS, _MARKED, _PROVED, _REPLY = range(4)
_MARKS_END = HEADER_BYTES + MAC_BYTES + COOKIE_BYTES
_HEADER = HEADER.pack(DatagramType.INITIATION, 0, 0, 7, 0)
_STATIC = BOB.static.public
_GENUINE = mark(_HEADER, bytes(115), _STATIC)
_COOKIE = b"a cookie of ours"


def check(data: bytes) -> None:
    plan = Plan(data)
    kind, rest = plan.number() % 4, plan.rest()
    if kind == _REPLY:
        _read_reply(rest)
        return
    jar = CookieJar(_STATIC, rng("jar"))
    here, there = endpoint(1), endpoint(2)
    # The guard judges none that is shorter.
    initiation = rest.ljust(_MARKS_END, b"\0")
    if kind != _AS_IT_STANDS:
        initiation = mark(initiation[:HEADER_BYTES], rest, _STATIC)
    assert jar.is_marked(initiation) >= (kind != _AS_IT_STANDS)
    assert not CookieJar(CAROL.static.public, rng("jar")).is_marked(initiation) or (
        kind == _AS_IT_STANDS
    )
    if kind != _PROVED:
        assert not jar.is_proved(initiation, here, 0.0)
        return
    cookie = read_cookie_reply(jar.reply(initiation, here, 0.0), initiation, _STATIC)
    proved = with_proof(initiation, cookie)
    assert jar.is_marked(proved)
    assert jar.is_proved(proved, here, 0.0)
    assert not jar.is_proved(proved, there, 0.0)
    assert not jar.is_proved(proved, here, COOKIE_LIFE_S)


def _read_reply(reply: bytes) -> None:
    try:
        cookie = read_cookie_reply(reply, _GENUINE, _STATIC)
    except AuthenticationError:
        return
    assert cookie == _COOKIE
    assert len(reply) == COOKIE_REPLY_BYTES


def _reply() -> bytes:
    return write_cookie_reply(_GENUINE, _COOKIE, bytes(24), _STATIC)


def seeds() -> Iterator[bytes]:
    for kind in (_AS_IT_STANDS, _MARKED, _PROVED):
        yield bytes((kind,)) + _GENUINE
        yield bytes((kind,)) + _HEADER
    yield bytes((_AS_IT_STANDS,)) + with_proof(_GENUINE, _COOKIE)
    yield bytes((_REPLY,)) + _reply()
    yield bytes((_REPLY,)) + _reply()[:-1]
    yield bytes((_REPLY,)) + _reply()[:-1] + b"\0"
    yield bytes((_REPLY,))

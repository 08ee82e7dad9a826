"""What a first message of a stranger costs us, refused, beside one that is answered."""

from __future__ import annotations

import itertools
import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from meshnet.ids import Endpoint, PeerName
from meshnet.peering.floods import FREE_HANDSHAKES_BURST, HandshakeGuard
from meshnet.wire.ciphers import DEFAULT_PREFERENCE
from meshnet.wire.handshake import initiate, read_initiation
from meshnet.wire.identity import Identity

US, CALLER = Identity.of_seed(b"\x01" * 32), Identity.of_seed(b"\x02" * 32)
NETWORK_ID, PSK = bytes(8), bytes(32)
AT = Endpoint("192.0.2.1", 6783)


def call(static: bytes) -> bytes:
    return initiate(
        CALLER,
        NETWORK_ID,
        peer=US.name,
        their_static=static,
        our_index=1,
        stamp=1,
        ciphers=DEFAULT_PREFERENCE,
        capabilities=0,
        ephemeral_secret=os.urandom(32),
        remote=AT,
        now=0.0,
    ).datagram


def test_answered(benchmark: BenchmarkFixture) -> None:
    """The whole of a responder's work: five X25519."""
    datagram = call(US.static.public)

    def answer() -> None:
        read_initiation(US, NETWORK_ID, datagram, os.urandom(32)).answer(
            peer=PeerName(CALLER.name),
            our_index=2,
            preference=DEFAULT_PREFERENCE,
            capabilities=0,
            psk=PSK,
            remote=AT,
            now=0.0,
        )

    benchmark(answer)


@pytest.mark.parametrize(
    ("static", "verdict"),
    [(CALLER.static.public, "bad_mac"), (US.static.public, "cookie_required")],
    ids=["refused: does not know our key", "refused: sent a cookie"],
)
def test_refused(benchmark: BenchmarkFixture, static: bytes, verdict: str) -> None:
    datagram = call(static)
    guard = HandshakeGuard(US.static.public, os.urandom)
    sources = itertools.cycle(Endpoint(f"198.51.100.{number}", 6783) for number in range(256))
    for _ in range(int(FREE_HANDSHAKES_BURST)):
        guard.judge(datagram, next(sources), 0.0)

    def refuse() -> str:
        drop, _ = guard.judge(datagram, next(sources), 0.0)
        return drop.value if drop is not None else ""

    assert benchmark(refuse) == verdict

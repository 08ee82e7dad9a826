"""Strangers who flood cost next to nothing, and keep no genuine peer out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from meshnet.errors import CloseCode, DropReason
from meshnet.events import LinkRefused
from meshnet.ids import Endpoint
from meshnet.peering.floods import (
    FREE_HANDSHAKES_BURST,
    FREE_HANDSHAKES_PER_S,
    HANDSHAKES_BURST,
    LINKS_BURST,
    LINKS_PER_S,
    MAX_HALF_OPEN,
    MAX_HALF_OPEN_PER_SOURCE,
)
from meshnet.peering.linking import HANDSHAKE_TIMEOUT_S
from meshnet.testing import Cluster, Host
from meshnet.wire import crypto
from meshnet.wire.cookies import mark
from meshnet.wire.datagram import HEADER, DatagramType
from support.guest import NOW, Guest, engine_of
from support.samples import CAROL, endpoint, identity


class Flood:
    """First messages without end from addresses that nobody answers at."""

    def __init__(self, victim: Host, *, knows_the_key: bool) -> None:
        self.victim = victim
        static = victim.engine.config.identity.static.public
        self._static = static if knows_the_key else CAROL.static.public
        self._random = random.Random("flood")
        self.sent = 0

    def burst(self, count: int) -> None:
        drawn = self._random
        for _ in range(count):
            header = HEADER.pack(DatagramType.INITIATION, 0, 0, drawn.getrandbits(32), 0)
            datagram = mark(header, drawn.randbytes(115), self._static)
            source = Endpoint(f"198.51.{drawn.randrange(256)}.{drawn.randrange(256)}", 6783)
            self.victim.receive_datagram(datagram, source)
            self.sent += 1


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each Diffie-Hellman that anybody computes."""
    done: list[None] = []
    x25519 = crypto.x25519

    def counted(secret: bytes, public: bytes) -> bytes:
        done.append(None)
        return x25519(secret, public)

    monkeypatch.setattr(crypto, "x25519", counted)
    return done


def flooded(cluster: Cluster, flood: Flood, duration_s: float, per_s: int = 1000) -> None:
    for _ in range(int(duration_s * 20)):
        flood.burst(per_s // 20)
        cluster.run_for(0.05)


def test_who_does_not_know_our_key_causes_no_key_exchange(exchanges: list[None]) -> None:
    cluster = Cluster()
    flood = Flood(cluster.add("victim"), knows_the_key=False)
    flooded(cluster, flood, 2.0)
    assert exchanges == []
    drops = flood.victim.engine.counters.drops
    assert drops == {DropReason.BAD_MAC: flood.sent}
    assert not any(sent.source == "victim" for sent in cluster.trace)


def test_who_knows_our_key_causes_few_key_exchanges_from_spoofed_addresses(
    exchanges: list[None],
) -> None:
    cluster = Cluster()
    flood = Flood(cluster.add("victim"), knows_the_key=True)
    flooded(cluster, flood, 5.0)
    drops = flood.victim.engine.counters.drops
    assert set(drops) == {DropReason.COOKIE_REQUIRED, DropReason.BAD_HANDSHAKE}
    assert sum(drops.values()) == flood.sent
    assert drops[DropReason.BAD_HANDSHAKE] <= FREE_HANDSHAKES_BURST + 5 * FREE_HANDSHAKES_PER_S + 1
    assert len(exchanges) <= drops[DropReason.BAD_HANDSHAKE]
    # No more is sent than was received, and shorter.
    answers = [sent.data for sent in cluster.trace if sent.source == "victim"]
    assert {data[0] for data in answers} == {DatagramType.COOKIE_REPLY}
    assert len(answers) == drops[DropReason.COOKIE_REQUIRED]


@pytest.mark.parametrize("dialler", ["genuine", "victim"])
def test_a_genuine_peer_gets_its_session_through_a_flood(dialler: str) -> None:
    cluster = Cluster(jitter_s=0.005)
    victim, genuine = cluster.add("victim"), cluster.add("genuine")
    flood = Flood(victim, knows_the_key=True)
    flooded(cluster, flood, 1.0)

    def beside_each_call(source: Endpoint, _to: Endpoint, data: bytes) -> bool:
        # So that none slips in by luck, on what the flood has just left.
        if source == genuine.address and data[0] == DatagramType.INITIATION:
            flood.burst(50)
        return True

    cluster.datagram_filter = beside_each_call
    one, other = (genuine, victim) if dialler == "genuine" else (victim, genuine)
    one.connect(other)
    for _ in range(40):
        flooded(cluster, flood, 0.05)
        if cluster.meshed():
            break
    assert cluster.meshed()
    if dialler == "genuine":
        kinds = Counter(sent.data[0] for sent in cluster.trace if sent.source == "genuine")
        assert kinds[DatagramType.INITIATION] >= 2, "one without and one with a proof"


def test_an_address_that_was_shown_still_has_a_rate() -> None:
    who = Guest(engine_of()).dial()
    for _ in range(int(FREE_HANDSHAKES_BURST)):
        Guest(who.engine, CAROL).give(Guest(who.engine, CAROL).call().datagram)
    proved = who.proved(who.call(stamp=1))
    before = Counter(who.drops)
    for _ in range(int(HANDSHAKES_BURST) + 5):
        who.give(proved)
    gained = Counter(who.drops) - before
    assert gained[DropReason.HANDSHAKE_RATE] == 5
    assert gained[DropReason.OLD_STAMP] == HANDSHAKES_BURST - 1


# Links.


def knock(who: Guest, at: Endpoint, link: int) -> bool:
    """Whether the engine talks to a new connection."""
    who.engine.link_opened(link, at, None, who.now)
    outputs = [output for output in who.engine.links_to_send() if output.link == link]
    return not any(output.close for output in outputs)


def test_one_source_has_few_links_that_say_nothing() -> None:
    who = Guest(engine_of())
    at = endpoint(66)
    let_in = [knock(who, at, link) for link in range(100, 100 + MAX_HALF_OPEN_PER_SOURCE + 5)]
    assert let_in == [True] * MAX_HALF_OPEN_PER_SOURCE + [False] * 5
    assert who.drops == {DropReason.LINK_LIMIT: 5}
    # Others are not concerned, and time clears the table.
    assert knock(who, endpoint(67), 200)
    who.wait(HANDSHAKE_TIMEOUT_S + 0.1)
    assert knock(who, at, 201)


def test_one_source_makes_links_at_a_bounded_rate() -> None:
    who = Guest(engine_of())
    at = endpoint(66)
    let_in = 0
    for link in range(100, 1100):
        let_in += knock(who, at, link)
        who.engine.link_ended(link, "gone again", who.now)
        who.drain()
        who.now += 0.01
    assert LINKS_BURST <= let_in <= LINKS_BURST + 10 * LINKS_PER_S + 1


def test_a_refused_link_costs_no_key_exchange_and_no_state(exchanges: list[None]) -> None:
    who = Guest(engine_of())
    for link in range(100, 100 + MAX_HALF_OPEN_PER_SOURCE):
        assert knock(who, who.at, link)
    who.meet(target_id=None)
    assert who.closed()
    assert exchanges == []
    assert {link.id for link in who.engine.links} == set(range(100, 100 + MAX_HALF_OPEN_PER_SOURCE))


def test_many_sources_cannot_keep_a_genuine_peer_out() -> None:
    who = Guest(engine_of())
    for number in range(4 * MAX_HALF_OPEN):
        knock(who, endpoint(1000 + number), 1000 + number)
    half_open = [link for link in who.engine.links if link.authenticated is None]
    assert len(half_open) == MAX_HALF_OPEN
    who.dial()
    assert who.established()
    who.drain()
    refused = [event for event in who.events if isinstance(event, LinkRefused)]
    assert {event.code for event in refused} == {CloseCode.TIMEOUT}
    assert {event.reason for event in refused} == {"made room for another connection"}


def test_established_links_do_not_count_as_half_open() -> None:
    first = Guest(engine_of(), identity(500), link=1).dial()
    guests = [first]
    for number in range(501, 501 + 2 * MAX_HALF_OPEN_PER_SOURCE):
        guest = first.beside(identity(number))
        guest.now = NOW + number
        guests.append(guest.dial())
    assert all(guest.established() for guest in guests)

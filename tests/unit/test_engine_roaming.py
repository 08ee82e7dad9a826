"""Where a peer is: where its newest datagram came from, and nowhere that anybody else says."""

from __future__ import annotations

import pytest

from meshnet.errors import DropReason
from meshnet.events import SessionMoved
from meshnet.ids import Endpoint
from meshnet.peering.sessions import MOVES_APART_S
from meshnet.testing import Cluster, Host
from meshnet.wire.datagram import DatagramType
from meshnet.wire.session import Session
from support.samples import BROADCAST, ethernet, mac

ELSEWHERE, ANOTHER = Endpoint("203.0.113.7", 9), Endpoint("203.0.113.8", 9)


class Caught:
    """Two peers; what ``one`` sends is held in the hand of the test, ``other`` has it not."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.one, self.other = self.cluster.add_many(2)
        self.other.connect(self.one)
        self.cluster.run_until(self.cluster.meshed, within_s=3.0)
        self.cluster.run_for(1.0)
        self.other.events.clear()
        self.datagrams: list[bytes] = []
        self.cluster.datagram_filter = self._pass

    def _pass(self, source: Endpoint, _to: Endpoint, data: bytes) -> bool:
        if source != self.one.address or data[0] != DatagramType.DATA:
            return True
        self.datagrams.append(data)
        return False

    def say(self) -> bytes:
        """The next datagram of ``one``, with a frame."""
        self.datagrams.clear()
        self.one.send(ethernet(BROADCAST, mac(1), b"here"))
        return self.datagrams[0]

    def arrives(self, datagram: bytes, source: Endpoint) -> None:
        self.other.receive_datagram(datagram, source)

    @property
    def seen_at(self) -> object:
        return session_of(self.other, self.one).remote


def session_of(host: Host, other: Host) -> Session:
    [pair] = [pair for pair in host.engine._sessions if pair.peer == other.name]
    assert pair.current is not None
    return pair.current


@pytest.fixture
def caught() -> Caught:
    return Caught()


def test_the_newest_datagram_moves_its_peer(caught: Caught) -> None:
    caught.arrives(caught.say(), ELSEWHERE)
    assert caught.seen_at == ELSEWHERE
    assert caught.other.events_of(SessionMoved) == [SessionMoved(caught.one.name, ELSEWHERE)]


def test_a_replayed_one_does_not(caught: Caught) -> None:
    datagram = caught.say()
    caught.arrives(datagram, caught.one.address)
    caught.arrives(datagram, ELSEWHERE)
    assert caught.seen_at == caught.one.address
    assert caught.other.engine.counters.drops == {DropReason.REPLAYED: 1}
    assert caught.other.events_of(SessionMoved) == []


def test_a_forged_one_does_not(caught: Caught) -> None:
    datagram = caught.say()
    caught.arrives(datagram[:-1] + bytes([datagram[-1] ^ 1]), ELSEWHERE)
    assert caught.seen_at == caught.one.address


def test_one_that_was_overtaken_does_not_take_it_back(caught: Caught) -> None:
    late, early = caught.say(), caught.say()
    caught.arrives(early, ELSEWHERE)
    caught.arrives(late, caught.one.address)
    assert caught.seen_at == ELSEWHERE
    assert len(caught.other.frames) == 2, "it is welcome all the same"


def test_one_that_was_held_back_and_comes_first_is_corrected_by_the_next(caught: Caught) -> None:
    caught.arrives(caught.say(), ELSEWHERE)
    caught.arrives(caught.say(), caught.one.address)
    assert caught.seen_at == caught.one.address


def test_what_moves_by_former_keys_has_moved(caught: Caught) -> None:
    """The two ends may send by different keys, if both have set up a session at once."""
    datagram = caught.say()
    [pair] = [pair for pair in caught.other.engine._sessions if pair.peer == caught.one.name]
    former = pair.current
    caught.cluster.datagram_filter = lambda _source, _to, _data: True
    caught.other.engine._sessions._initiate(pair, caught.cluster.now)
    caught.other.drain()
    caught.cluster.run_for(0.1)
    assert pair.current is not former
    caught.arrives(datagram, ELSEWHERE)
    assert caught.seen_at == ELSEWHERE


def test_a_member_that_sends_from_everywhere_is_told_of_seldom(caught: Caught) -> None:
    for number in range(100):
        caught.arrives(caught.say(), (ELSEWHERE, ANOTHER)[number % 2])
    assert caught.seen_at == ANOTHER
    assert len(caught.other.events_of(SessionMoved)) == 1
    caught.cluster.run_for(MOVES_APART_S)
    caught.arrives(caught.say(), ELSEWHERE)
    assert len(caught.other.events_of(SessionMoved)) == 2


def test_a_changed_path_has_everybody_asked_at_once() -> None:
    cluster = Cluster()
    one, *others = cluster.add_many(5)
    for other in others:
        other.connect(one)
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(2.2)
    for other in others:
        other.frames.clear()
    sent: list[Endpoint] = []

    def note(source: Endpoint, to: Endpoint, _data: bytes) -> bool:
        if source == one.address:
            sent.append(to)
        return True

    cluster.datagram_filter = note
    one.engine.path_changed(cluster.now)
    one.drain()
    assert sorted(sent) == sorted(other.address for other in others)
    assert len(one.engine.links.by_peer) == 4
    cluster.run_for(5.0)
    assert len(one.engine.links.by_peer) == 4, "they all answer"


def test_a_stopped_peer_asks_nobody() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    one.connect(other)
    cluster.run_until(cluster.meshed, within_s=5.0)
    one.engine.stop(cluster.now)
    one.drain()
    one.engine.path_changed(cluster.now)
    assert one.engine.dials_to_make() == []
    assert list(one.engine.datagrams_to_send()) == []

"""Frames for all, in meshes of more peers than `--degree`: each reaches everybody, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

from meshnet.discovery.neighbours import FULL_MESH_AFTER_S
from meshnet.errors import DropReason
from meshnet.ids import PeerName
from meshnet.peering import broadcast, routing
from meshnet.testing import Cluster, Host
from meshnet.wire.datagram import HEADER, PartType, pack_part, parse_parts
from meshnet.wire.key_life import KeyLife
from support.samples import BROADCAST, ethernet
from support.sparse import (
    Edges,
    has_settled,
    knotted,
    line,
    mac_of_host,
    ring,
    settled,
    sparse,
)

MARKER = b"a marker of thirty-two bytes, yes"
TOPOLOGIES = [(line(8), 8), (ring(10), 10), (knotted(12, 1), 12), (knotted(14, 2), 14)]


class Speech:
    """Frames for all, each another one, and who has to hear them."""

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self.said: list[tuple[Host, bytes]] = []
        for host in hosts:
            host.frames.clear()

    def say(self, host: Host) -> None:
        payload = MARKER + len(self.said).to_bytes(4, "big")
        frame = ethernet(BROADCAST, mac_of_host(self.hosts, host), payload)
        self.said.append((host, frame))
        host.send(frame)

    def everybody_says(self, times: int = 1, *, every_s: float = 0.0) -> None:
        for _ in range(times):
            for host in self.hosts:
                if host.up:
                    self.say(host)
            self.hosts[0].cluster.run_for(every_s)

    def missing(self, among: Collection[Host] | None = None) -> list[tuple[str, str, int]]:
        """Who has not heard from whom, or more than once: (hearer, speaker, how often)."""
        wrong: list[tuple[str, str, int]] = []
        for hearer in among if among is not None else self.hosts:
            heard = Counter(hearer.frames)
            wrong += [
                (hearer.nickname, speaker.nickname, heard[frame])
                for speaker, frame in self.said
                if heard[frame] != (speaker is not hearer)
            ]
        return wrong


def drops(hosts: list[Host]) -> Counter[DropReason]:
    return sum((host.engine.counters.drops for host in hosts), Counter[DropReason]())


def repeats(hosts: list[Host]) -> list[int]:
    return [host.engine.counters.broadcasts_repeated for host in hosts]


def know_no_trees(hosts: list[Host]) -> None:
    for host in hosts:
        host.engine._broadcast.tree_children = None


def learn_trees(hosts: list[Host]) -> None:
    """Wait until nothing has changed for a while, and have all ask for their part of each tree."""
    cluster = hosts[0].cluster
    cluster.run_for(routing.TREES_SETTLE_S)
    Speech(hosts).everybody_says(1)
    cluster.run_for(1.0)


@pytest.mark.parametrize(("edges", "count"), TOPOLOGIES)
def test_what_anybody_says_to_all_reaches_each_once_from_the_first_frame_on(
    edges: Edges, count: int
) -> None:
    hosts = settled(sparse(edges, count))
    speech = Speech(hosts)
    speech.everybody_says(5, every_s=0.2)
    hosts[0].cluster.run_for(2.0)
    assert speech.missing() == []
    assert not drops(hosts)
    assert {host.engine.counters.broadcasts_sent for host in hosts} == {5}


def test_at_most_degree_peers_get_it_each_by_a_datagram_of_its_own() -> None:
    cluster = Cluster(seed=1)
    hosts = [cluster.add(f"host{number}", degree=3) for number in range(4)]
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=10)
    cluster.run_for(1.0)
    speech = Speech(hosts)
    speech.everybody_says(2)
    cluster.run_for(1.0)
    assert speech.missing() == []
    assert [host.engine.counters.broadcasts_sent for host in hosts] == [0] * 4
    # One more, and all change over; with its going they go back.
    one_more = cluster.add("one more", degree=3)
    one_more.connect(hosts[0])
    cluster.run_until(lambda: has_settled([*hosts, one_more]), within_s=10)
    speech.everybody_says(2)
    cluster.run_for(1.0)
    assert speech.missing() == []
    assert [host.engine.counters.broadcasts_sent for host in hosts] == [2] * 4
    one_more.stop()
    # A mesh whose size goes up and down shall not change over each time.
    cluster.run_for(FULL_MESH_AFTER_S + 1.0)
    cluster.run_until(cluster.meshed, within_s=10)
    speech.everybody_says(2)
    cluster.run_for(1.0)
    assert speech.missing() == []
    assert [host.engine.counters.broadcasts_sent for host in hosts] == [2] * 4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ways_that_are_cut_and_mended_lose_and_repeat_nothing(seed: int) -> None:
    edges = knotted(10, seed)
    hosts = settled(sparse(edges, 10, seed=seed))
    cluster = hosts[0].cluster
    know_no_trees(hosts)  # By a tree all is lost until somebody sees that a link has gone.
    speech = Speech(hosts)
    drawn = cluster.rng.stream("cuts")
    for _ in range(4):
        one, other = edges[drawn(1)[0] % len(edges)]
        cluster.cut(hosts[one], hosts[other])
        speech.everybody_says(10, every_s=0.25)
        cluster.mend(hosts[one], hosts[other])
        speech.everybody_says(10, every_s=0.25)
    cluster.run_for(3.0)
    assert speech.missing() == []


@pytest.mark.parametrize(("edges", "count"), TOPOLOGIES)
def test_copies_are_one_for_each_peer_where_the_tree_is_known(edges: Edges, count: int) -> None:
    hosts = settled(sparse(edges, count))
    cluster = hosts[0].cluster
    learn_trees(hosts)
    speech = Speech(hosts)
    repeated = repeats(hosts)
    relayed = sum(host.engine.counters.broadcasts_passed_on for host in hosts)
    speech.everybody_says(3, every_s=0.3)
    cluster.run_for(2.0)
    assert speech.missing() == []
    # Not even a datagram came twice.
    assert repeats(hosts) == repeated
    assert sum(host.engine.counters.broadcasts_passed_on for host in hosts) > relayed
    assert not drops(hosts)


def test_where_no_tree_is_known_copies_come_by_each_way() -> None:
    hosts = settled(sparse(knotted(12, 3), 12))
    know_no_trees(hosts)
    repeated = repeats(hosts)
    Speech(hosts).everybody_says()
    hosts[0].cluster.run_for(1.0)
    assert all(now > before for now, before in zip(repeats(hosts), repeated, strict=True))


def test_trees_are_another_soon_after_a_link_has_gone() -> None:
    hosts = settled(sparse(edges := knotted(12, 3), 12))
    cluster = hosts[0].cluster
    learn_trees(hosts)
    for one, other in edges[::4]:
        cluster.cut(hosts[one], hosts[other])
        speech = Speech(hosts)
        speech.everybody_says(10, every_s=0.2)  # What shows that it has gone.
        speech = Speech(hosts)
        speech.everybody_says(10, every_s=0.2)
        cluster.run_for(2.0)
        assert speech.missing() == []
        learn_trees(hosts)
        repeated = repeats(hosts)
        speech = Speech(hosts)
        speech.everybody_says()
        cluster.run_for(1.0)
        assert speech.missing() == []
        assert repeats(hosts) == repeated
        cluster.mend(hosts[one], hosts[other])
        cluster.run_until(lambda: has_settled(hosts), within_s=60.0, every_s=0.1)


def test_a_source_that_renews_its_key_or_begins_anew_loses_nothing() -> None:
    hosts = settled(sparse(ring(8), 8))
    cluster = hosts[0].cluster
    source = hosts[3]
    speech = Speech(hosts)
    for _ in range(50):  # The key is renewed twice meanwhile.
        speech.say(source)
        cluster.run_for(5.0)
    assert speech.missing() == []
    keys = hosts[7].engine._broadcast.keys
    assert 2 <= len(keys) <= 3
    source.restart()
    cluster.run_until(lambda: has_settled(hosts), within_s=20, every_s=0.1)
    before = len(speech.said)
    for _ in range(3):
        speech.say(source)
        cluster.run_for(0.5)
    others = [host for host in hosts if host is not source]
    assert speech.missing(others) == []
    assert len(speech.said) == before + 3
    assert not drops(hosts) - Counter({DropReason.UNKNOWN_SESSION: 1000})


def test_keys_end_with_their_age() -> None:
    hosts = settled(sparse(ring(6), 6))
    cluster = hosts[0].cluster
    Speech(hosts).everybody_says()
    cluster.run_for(1.0)
    assert [len(host.engine._broadcast.keys) for host in hosts] == [6] * 6
    cluster.run_for(250.0)
    assert [len(host.engine._broadcast.keys) for host in hosts] == [0] * 6


def test_who_joins_late_hears_what_is_said_from_then_on() -> None:
    hosts = settled(sparse(line(6), 6))
    cluster = hosts[0].cluster
    Speech(hosts).everybody_says(3, every_s=0.1)
    late = cluster.add("late", degree=3)
    for host in hosts[:-1]:
        cluster.cut(late, host)
    late.connect(hosts[-1])
    hosts.append(late)
    cluster.run_until(lambda: has_settled(hosts), within_s=20, every_s=0.1)
    for host in hosts:
        host.frames.clear()
    speech = Speech(hosts)
    speech.everybody_says(2, every_s=0.2)
    cluster.run_for(2.0)
    assert speech.missing() == []
    # By five relays, all of which have had the key for longer.
    assert late.engine._broadcast.keys.get(own_key_name(hosts[0])) is not None


def own_key_name(host: Host) -> tuple[PeerName, int]:
    own = host.engine._broadcast._own
    assert own is not None
    return (host.name, own.signed.id)


def test_losses_cost_what_was_lost_and_no_more() -> None:
    """A key that is asked for in vain is asked for again, by another way if there is one."""
    hosts = settled(sparse(knotted(10, 5), 10))
    cluster = hosts[0].cluster
    cluster.impair(loss=0.2)
    speech = Speech(hosts)
    speech.everybody_says(1)
    cluster.run_for(5.0)
    # Two ways or more to each: nearly all of it comes, though a fifth of all datagrams is lost.
    assert len(speech.missing()) < 0.15 * 9 * 10
    assert all(count <= 1 for _, _, count in speech.missing())
    assert drops(hosts)[DropReason.NO_SENDER_KEY] == 0


def test_without_asking_again_losses_cost_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MAX_ASKS", 1)
    hosts = settled(sparse(knotted(10, 5), 10))
    hosts[0].cluster.impair(loss=0.2)
    Speech(hosts).everybody_says(1)
    hosts[0].cluster.run_for(5.0)
    assert drops(hosts)[DropReason.NO_SENDER_KEY] > 0


def test_nothing_of_it_is_in_clear_and_relays_without_the_key_cannot_read_it() -> None:
    hosts = settled(sparse(line(5), 5))
    cluster = hosts[0].cluster
    speech = Speech(hosts)
    speech.everybody_says(2, every_s=0.3)
    cluster.run_for(1.0)
    assert speech.missing() == []
    assert not any(MARKER in packet.data for packet in cluster.trace)
    # The key itself is told in sessions only.
    own = hosts[0].engine._broadcast._own
    assert own is not None
    assert not any(own.signed.key in packet.data for packet in cluster.trace)


def test_a_hostile_relay_can_neither_change_nor_repeat_nor_shut_out_what_it_passes_on() -> None:
    hosts = settled(sparse(line(6), 6, degree=3))
    cluster = hosts[0].cluster
    relay, next_one = hosts[2], hosts[3]
    send_part = relay.engine.data_path.send_part

    def tampering(peer: PeerName, part: bytes, now: float, *, wants_answer: bool = True) -> bool:
        if part[0] == PartType.BROADCAST and peer == next_one.name:
            [(_, body)] = parse_parts(part)
            # Another counter, far ahead, under the same key; then changed content; a repeat after.
            _, _, _, key_id, _ = HEADER.unpack_from(body, 17)
            ahead = body[:17] + HEADER.pack(6, 0, 0, key_id, 2**40) + body[33:]
            changed = body[:-1] + bytes((body[-1] ^ 1,))
            for made_up in (ahead, changed, body, body):
                send_part(peer, pack_part(PartType.BROADCAST, made_up), now)
            return True
        return send_part(peer, part, now, wants_answer=wants_answer)

    relay.engine.data_path.send_part = tampering  # type: ignore[method-assign]
    speech = Speech(hosts)
    speech.everybody_says(4, every_s=0.3)
    cluster.run_for(2.0)
    assert speech.missing() == []
    assert drops(hosts)[DropReason.BAD_TAG] > 0


def test_keys_follow_the_life_that_is_asked_of_them() -> None:
    """As with sessions, `EngineConfig.key_life` shortens it."""
    cluster = Cluster(seed=1)
    hosts = [
        cluster.add(f"host{number}", degree=1, key_life=KeyLife(rekey_after_s=5.0))
        for number in range(3)
    ]
    for host in hosts[1:]:
        host.connect(hosts[0])
    settled(hosts)
    speech = Speech(hosts)
    speech.say(hosts[0])
    first = own_key_name(hosts[0])
    cluster.run_for(4.9)
    speech.say(hosts[0])
    assert own_key_name(hosts[0]) == first
    cluster.run_for(0.2)
    speech.say(hosts[0])
    assert own_key_name(hosts[0]) != first
    cluster.run_for(1.0)
    assert speech.missing() == []

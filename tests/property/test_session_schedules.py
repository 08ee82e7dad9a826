"""Whatever happens when: keys are young, no nonce is used twice, and the pair meets again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnet.testing import Cluster, Host
from meshnet.wire.key_life import KeyLife
from meshnet.wire.session import Session
from support.samples import BROADCAST, ethernet, mac

LIFE = KeyLife(6.0)
HOSTS = st.integers(0, 1)
ACTIONS = st.one_of(
    st.tuples(st.just("send"), HOSTS),
    st.tuples(st.just("rekey"), HOSTS),
    st.tuples(st.just("rekey both"), HOSTS),
    st.tuples(st.just("restart"), HOSTS),
    st.tuples(st.just("leap"), st.integers(1, 30)),
    st.tuples(st.just("wait"), st.integers(0, 40)),
    st.tuples(st.just("lose"), st.integers(0, 9)),
)


@contextlib.contextmanager
def watched() -> Iterator[dict[bytes, Session]]:
    """Each key that seals, with its session; a counter that seals twice is a failure."""
    used: set[tuple[bytes, int]] = set()
    owners: dict[bytes, Session] = {}
    seal = Session.seal

    def sealing(session: Session, payload: bytes) -> bytes:
        use = (session.send_key, session.send_counter)
        assert use not in used, "a counter was used twice under one key"
        used.add(use)
        assert owners.setdefault(session.send_key, session) is session, "a key in two sessions"
        return seal(session, payload)

    with mock.patch.object(Session, "seal", sealing):
        yield owners


def rekey(cluster: Cluster, host: Host, other: Host) -> None:
    keeper = host.engine._sessions
    pair = keeper.pair(other.name)
    if pair is not None:
        keeper._rekey(pair, cluster.now)
        host.drain()


def check_ages(cluster: Cluster, hosts: list[Host]) -> None:
    """What is used now is young; what is old is gone as soon as its timer was handled."""
    for host, other in (hosts, hosts[::-1]):
        pair = host.engine._sessions.pair(other.name)
        for session in pair.sessions if pair is not None else ():
            assert cluster.now - session.created_at <= LIFE.reject_after_s


def check_stamps(hosts: list[Host], taken: dict[tuple[str, int], int]) -> None:
    """What a life of one end has taken from the other never falls, whatever the other does."""
    for host, other in (hosts, hosts[::-1]):
        pair = host.engine._sessions.pair(other.name)
        if pair is not None:
            key = (host.nickname, host.disk.generation)
            assert pair.last_stamp >= taken.get(key, -1)
            taken[key] = pair.last_stamp


@settings(max_examples=25)
@given(st.integers(0, 2**16), st.lists(ACTIONS, max_size=40))
def test_any_schedule(seed: int, actions: list[tuple[str, int]]) -> None:
    with watched() as owners:
        cluster, stamps = Cluster(seed=seed, jitter_s=0.02), dict[tuple[str, int], int]()
        hosts = [cluster.add(name, key_life=LIFE) for name in "ab"]
        hosts[1].connect(hosts[0])
        cluster.run_until(cluster.meshed, within_s=10.0)
        for action, value in actions:
            if action == "send":
                hosts[value].send(ethernet(BROADCAST, mac(value + 1)))
            elif action == "rekey":
                rekey(cluster, hosts[value], hosts[1 - value])
            elif action == "rekey both":
                for one, other in (hosts, hosts[::-1]):
                    rekey(cluster, one, other)
            elif action == "restart":
                hosts[value].restart()
            elif action == "leap":
                cluster.clock.leap(value)
            elif action == "lose":
                cluster.impair(loss=value / 10)
            else:
                cluster.run_for(value / 10)
                check_ages(cluster, hosts)
                check_stamps(hosts, stamps)
        cluster.impair(loss=0.0)
        # Long enough for every wait, and for links that a leap of time has ended to be dialled.
        cluster.run_for(40.0)
        cluster.run_until(cluster.meshed, within_s=10.0)
        for one, other in (hosts, hosts[::-1]):
            other.frames.clear()
            frame = ethernet(BROADCAST, mac(1), b"after all that")
            one.send(frame)
            cluster.run_for(0.2)
            assert other.frames == [frame]
        assert len(owners) >= 2

"""Replicas that only ship their own fragments end equal, and equal to slow and obvious models.

Each replica stores the newest fragment of each writer and follows it by the entries that changed,
as a channel does. Versions arrive in any order, some never; replicas restart from what is stored.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from meshnet.crdt.base import KeyChange, Lattice, ValueChange
from meshnet.crdt.counter import Counter
from meshnet.crdt.dots import Origin
from meshnet.crdt.lww import LwwMap
from meshnet.crdt.orset import OrMap, OrSet
from meshnet.ids import PeerName
from meshnet.testing.crdt_strategies import WRITERS

L = TypeVar("L", bound=Lattice[Any])
Entries = dict[bytes, bytes]

PEERS = st.sampled_from(WRITERS)
KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([b"x", b"y", b"z"])


class Replica(Generic[L]):
    """One peer: the newest entries of every writer it heard of, and their join."""

    def __init__(self, kind: type[L], name: PeerName) -> None:
        self.kind, self.name = kind, name
        self.origin = Origin(name, 7)
        self.stored: dict[PeerName, Entries] = {writer: {} for writer in WRITERS}
        self.version: Tally[PeerName] = Tally()
        self.history: list[Entries] = [{}]
        self.restart()

    def restart(self) -> None:
        self.own = self.kind.from_entries(self.stored[self.name], self.name)
        self.whole = self.kind()
        for writer, entries in self.stored.items():
            self.whole.apply(self.kind.from_entries(entries, writer))

    def write(self, delta: L) -> list[Any]:
        changes = self.whole.apply(delta)
        self.keep(self.own.publish(delta, self.name))
        return changes

    def settle(self) -> None:
        self.keep(self.own.settle(self.whole, self.name))

    def keep(self, changed: dict[bytes, bytes | None]) -> None:
        entries = self.stored[self.name].copy()
        for key, value in changed.items():
            if value is None:
                del entries[key]
            else:
                entries[key] = value
        if changed:
            self.history.append(entries)
        self.stored[self.name] = entries

    def hear(self, writer: PeerName, version: int, entries: Entries) -> None:
        if writer == self.name or version <= self.version[writer]:
            return
        self.version[writer] = version
        known, self.stored[writer] = self.stored[writer], entries
        changed: dict[bytes, bytes | None] = dict.fromkeys(known.keys() - entries.keys())
        changed |= {key: value for key, value in entries.items() if known.get(key) != value}
        delta = self.kind.from_entries(changed, writer)
        self.whole.apply(delta)
        self.keep(self.own.settle(self.whole, self.name, delta))


class Machine(RuleBasedStateMachine, Generic[L]):
    kind: type[L]

    def __init__(self) -> None:
        super().__init__()
        self.replicas = {name: Replica(self.kind, name) for name in WRITERS}

    @rule(writer=PEERS, reader=PEERS, back=st.integers(0, 2))
    def deliver(self, writer: PeerName, reader: PeerName, back: int) -> None:
        history = self.replicas[writer].history
        version = max(0, len(history) - 1 - back)
        self.replicas[reader].hear(writer, version, history[version])

    @rule(writer=PEERS)
    def settle(self, writer: PeerName) -> None:
        self.replicas[writer].settle()

    @rule(writer=PEERS)
    def restart(self, writer: PeerName) -> None:
        self.replicas[writer].restart()

    def everything_arrives(self) -> None:
        for _ in range(4):  # who hears may settle, which the others hear in the next round
            for writer, sender in self.replicas.items():
                for reader in self.replicas.values():
                    reader.hear(writer, len(sender.history) - 1, sender.history[-1])

    def teardown(self) -> None:
        self.everything_arrives()
        first, *others = self.replicas.values()
        for other in others:
            assert other.whole == first.whole
            assert other.stored == first.stored
        newcomer = Replica(self.kind, WRITERS[0])
        newcomer.stored = first.stored
        newcomer.restart()
        assert newcomer.whole == first.whole, "who followed and who came late see the same"
        self.check_model(first.whole)

    def check_model(self, whole: L) -> None:
        raise NotImplementedError


class LwwMachine(Machine[LwwMap]):
    """The model keeps all writes for ever and takes the greatest."""

    kind = LwwMap

    def __init__(self) -> None:
        super().__init__()
        self.writes: dict[str, list[tuple[int, PeerName, bytes | None]]] = {}

    @rule(writer=PEERS, key=KEYS, value=VALUES)
    def put(self, writer: PeerName, key: str, value: bytes) -> None:
        replica = self.replicas[writer]
        before = replica.whole.get(key)
        self.record(replica, key, value, replica.whole.put(replica.origin, key, value), before)

    @rule(writer=PEERS, key=KEYS)
    def remove(self, writer: PeerName, key: str) -> None:
        replica = self.replicas[writer]
        before = replica.whole.get(key)
        if before is not None:
            self.record(replica, key, None, replica.whole.remove(replica.origin, key), before)

    def record(
        self,
        replica: Replica[LwwMap],
        key: str,
        value: bytes | None,
        delta: LwwMap,
        before: bytes | None,
    ) -> None:
        [written] = delta.to_entries(replica.name).values()
        lamport = int.from_bytes(written[:8], "big")
        self.writes.setdefault(key, []).append((lamport, replica.name, value))
        changes = replica.write(delta)
        assert changes == ([KeyChange(key, before, value)] if value != before else [])
        assert replica.whole.get(key) == value, "who writes reads what it wrote"

    def check_model(self, whole: LwwMap) -> None:
        winners = {key: max(writes)[2] for key, writes in self.writes.items()}
        assert dict(whole.items()) == {
            key: value for key, value in winners.items() if value is not None
        }
        entries = [len(self.replicas[WRITERS[0]].stored[writer]) for writer in WRITERS]
        assert sum(entries) == len(winners), "what is beaten is said no more"


class ObservedRemoveMachine(Machine[L]):
    """The model keeps each put, and each removal as the set of puts that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: dict[int, tuple[str, tuple[int, PeerName, int], bytes]] = {}
        self.removed: set[int] = set()
        self.counts: Tally[PeerName] = Tally()

    def live(self, whole: L) -> set[int]:
        """Which puts of the model live in a state, by what its entries say."""
        entries = {writer: whole.to_entries(writer) for writer in WRITERS}
        front = b"+" + (7).to_bytes(8, "big")
        return {
            number
            for number, (_, (_, writer, counter), _) in self.puts.items()
            if front + counter.to_bytes(8, "big") in entries[writer]
        }

    def saw(self, replica: Replica[L], key: str) -> set[int]:
        return {number for number in self.live(replica.whole) if self.puts[number][0] == key}

    def record_put(self, replica: Replica[L], key: str, value: bytes, delta: L) -> None:
        saw = self.saw(replica, key)
        lamport = 1 + max((self.puts[number][1][0] for number in saw), default=0)
        self.counts[replica.name] += 1
        order = (lamport, replica.name, self.counts[replica.name])
        self.removed |= saw
        number = len(self.puts)
        self.puts[number] = (key, order, value)
        replica.write(delta)
        assert self.saw(replica, key) == {number}, "a put replaces what it saw"

    def record_removal(self, replica: Replica[L], key: str, delta: L) -> None:
        self.removed |= self.saw(replica, key)
        replica.write(delta)
        assert self.saw(replica, key) == set()

    def model(self) -> dict[str, bytes]:
        lives = [put for number, put in self.puts.items() if number not in self.removed]
        return {key: value for key, _, value in sorted(lives, key=lambda put: put[1])}

    def check_model(self, whole: L) -> None:
        assert self.live(whole) == self.puts.keys() - self.removed
        living = Tally(self.puts[number][1][1] for number in self.live(whole))
        for replica in self.replicas.values():
            for entries in replica.stored.values():
                live = sum(key.startswith(b"+") for key in entries)
                runs = Tally(key[1:17] for key in entries if key.startswith(b"-"))
                assert live <= sum(living.values())
                for peer, count in runs.items():
                    assert count <= living[PeerName(peer)] + 1, "runs grow together"


class OrSetMachine(ObservedRemoveMachine[OrSet]):
    kind = OrSet

    @rule(writer=PEERS, element=KEYS)
    def add(self, writer: PeerName, element: str) -> None:
        replica = self.replicas[writer]
        self.record_put(replica, element, b"", replica.whole.add(replica.origin, element))
        assert element in replica.whole

    @rule(writer=PEERS, element=KEYS)
    def remove(self, writer: PeerName, element: str) -> None:
        replica = self.replicas[writer]
        self.record_removal(replica, element, replica.whole.remove(replica.origin, element))
        assert element not in replica.whole

    def check_model(self, whole: OrSet) -> None:
        super().check_model(whole)
        assert set(whole) == self.model().keys()


class OrMapMachine(ObservedRemoveMachine[OrMap]):
    kind = OrMap

    @rule(writer=PEERS, key=KEYS, value=VALUES)
    def put(self, writer: PeerName, key: str, value: bytes) -> None:
        replica = self.replicas[writer]
        self.record_put(replica, key, value, replica.whole.put(replica.origin, key, value))
        assert replica.whole[key] == value

    @rule(writer=PEERS, key=KEYS)
    def remove(self, writer: PeerName, key: str) -> None:
        replica = self.replicas[writer]
        self.record_removal(replica, key, replica.whole.remove(replica.origin, key))
        assert key not in replica.whole

    def check_model(self, whole: OrMap) -> None:
        super().check_model(whole)
        assert dict(whole.items()) == self.model()


class CounterMachine(Machine[Counter]):
    """The model is a number."""

    kind = Counter

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @rule(writer=PEERS, amount=st.integers(-3, 3))
    def add(self, writer: PeerName, amount: int) -> None:
        replica = self.replicas[writer]
        self.total += amount
        before = replica.whole.value
        changes = replica.write(replica.whole.add(replica.origin, amount))
        assert changes == ([ValueChange(before, before + amount)] if amount else [])

    def check_model(self, whole: Counter) -> None:
        assert whole.value == self.total


TestLwwMachine = LwwMachine.TestCase
TestOrSetMachine = OrSetMachine.TestCase
TestOrMapMachine = OrMapMachine.TestCase
TestCounterMachine = CounterMachine.TestCase

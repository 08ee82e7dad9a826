"""One peer's channels without links, a disk or a clock, and fragments written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from meshnet.crdt import Counter, Lattice, LwwMap, LwwRegister, Origin, OrMap, OrSet
from meshnet.events import ChannelChanged
from meshnet.gossip.channels import BadEntry, ChannelEvent, Channels, LatticeT, OpenChannel
from meshnet.gossip.events import Changed
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fold import overlook
from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.replica import Replica
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId
from meshnet.wire.identity import Identity
from support.samples import ALICE, NETWORK_ID

P = ParamSpec("P")
E = TypeVar("E")

ALL_TYPES: list[type[Lattice[Any]]] = [LwwRegister, LwwMap, OrSet, OrMap, Counter]


def fragment_by(
    who: Identity, channel: ChannelId, entries: Mapping[bytes, bytes] | Tree, sequence: int = 1
) -> Fragment:
    """Any entries at all, well signed."""
    tree = entries if isinstance(entries, Tree) else Tree.of(entries.items())
    return sign_fragment(who, NETWORK_ID, channel, tree, incarnation=1, sequence=sequence)


def fresh_fold(replica: Replica, channel: ChannelId, kind: type[LatticeT]) -> LatticeT:
    """What somebody who comes last and knows nothing makes of a channel."""
    value = kind()
    for writer, fragment in replica.channel(channel).items():
        value.apply(kind.from_entries(dict(fragment.tree), writer, overlook))
    return value


def seen(value: Lattice[Any]) -> dict[Any, Any]:
    """What users see of a value, in a form that changes can be replayed on."""
    if isinstance(value, OrSet):
        return dict.fromkeys(value, True)
    if isinstance(value, LwwMap | OrMap):
        return dict(value.items())
    assert isinstance(value, LwwRegister | Counter)
    return {"": value.value}


def replay(view: dict[Any, Any], change: Any) -> None:
    """Change ``view`` as users are told; fails when it is not as they were told before."""
    if hasattr(change, "element"):
        key, before, after = change.element, not change.present or None, change.present or None
    else:
        key, before, after = getattr(change, "key", ""), change.before, change.after
    assert view.get(key) == before, f"{change} comes upon {view.get(key)!r}"
    if after is None and key != "":
        view.pop(key, None)
    else:
        view[key] = after


class Member:
    """`Gossip` and `Channels` of one peer; what it hears is put into its hand."""

    def __init__(
        self, who: Identity = ALICE, *, durable: bool = False, generation: int = 1
    ) -> None:
        self.who = who
        self.gossip = Gossip(
            who,
            NETWORK_ID,
            incarnation=1,
            first_sequence=generation << 40,
            told_by_writer=lambda _writer, _peer: False,
            is_alive=lambda _peer: False,
        )
        self.channels = Channels(self.gossip, Origin(who.name, 1), durable=durable)
        self.events: list[ChannelEvent] = []

    def hear(self, channel: ChannelId, fragment: Fragment) -> None:
        """Another peer's fragment has arrived."""
        self.gossip.publish(channel, fragment)
        self.follow()

    def follow(self) -> None:
        while (event := self.gossip.next_event()) is not None:
            if isinstance(event, Changed):
                self.channels.follow(event)
        while (told := self.channels.next_event()) is not None:
            self.events.append(told)

    def update(
        self,
        opened: OpenChannel[LatticeT],
        mutator: Callable[Concatenate[LatticeT, Origin, P], LatticeT],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> int:
        delta = mutator(opened.value, self.channels.origin, *args, **kwargs)
        ticket = self.channels.update(opened, delta)
        self.follow()
        return ticket

    def catch_up(self, now: float = 0.0) -> None:
        """Work until there is none left at this time."""
        while (at := self.channels.next_work_at(now)) is not None and at <= now:
            self.channels.work(now)
        self.follow()

    def flush(self, *, refused: str = "") -> list[bytes]:
        """Sign and write what is due, or have the disk refuse it; the records."""
        self.channels.flush()
        records = self.channels.records_to_write()
        if refused:
            self.channels.not_written(refused)
        else:
            self.channels.written()
        self.follow()
        return records

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def bad_entries(self) -> list[BadEntry]:
        return self.told(BadEntry)

    @property
    def changes(self) -> list[Any]:
        return [change for event in self.told(ChannelChanged) for change in event.changes]

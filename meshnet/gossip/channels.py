"""Channels whose type is known here: their values, and what we write to them.

The value of a channel is the join of all its fragments (`meshnet.crdt`). It follows changes by
joining them, which costs what has changed. A writer whose fragment did not only grow (a cloned
disk, or malice) makes that wrong: the value is then computed anew beside the old one, so peers that
hold the same fragments always come to show the same value.

An update counts at once here. It is acknowledged, and told to others, when it is on disk: what was
acknowledged survives a crash, and what was told is never taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from meshnet.crdt.base import KeyedLattice, Lattice
from meshnet.crdt.dots import Origin
from meshnet.errors import ConfigError, LocalProtocolError, StateError
from meshnet.events import ChannelChanged, UpdatesKept, UpdatesLost
from meshnet.gossip.comparison import Comparison
from meshnet.gossip.events import Changed, Removed
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fold import Fold, overlook
from meshnet.gossip.fragments import (
    MAX_CHANNEL_NAME_BYTES,
    MAX_FRAGMENT_BYTES,
    MAX_KEY_BYTES,
    MAX_TYPE_NAME_BYTES,
    MAX_VALUE_BYTES,
    Fragment,
)
from meshnet.gossip.keeper import Keeper
from meshnet.gossip.replica import FragmentId
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.values import Value
from meshnet.wire.cursor import MalformedError, pack_text

LatticeT = TypeVar("LatticeT", bound=Lattice[Any])

# Our choice: about a millisecond's work.
SLICE_ENTRIES = 100
# So many keys are compared where an entry would be joined, which takes longer.
KEYS_FOR_ENTRY = 4
# So much of a channel is there as soon as it is opened; the rest of a large one follows.
OPEN_ENTRIES = 1000
# So many are packed for the disk in that time.
PACKED_ENTRIES = 250
# Our part is looked through for what need not be said any more when it has grown so much: that
# costs as much as it had cost to write.
SETTLE_FACTOR = 2
SETTLE_ENTRIES = 64
# A value is computed anew at most this often, whatever a hostile writer does.
REFOLD_INTERVAL_S = 10.0


class BadEntry(Value):
    """An entry of a writer's fragment that means nothing to the channel's type."""

    writer: PeerName
    text: str


ChannelEvent = ChannelChanged | UpdatesKept | UpdatesLost | BadEntry


class OpenChannel(Generic[LatticeT]):
    """One channel: its `value`, and our own part of it. Made by `Channels.open`."""

    def __init__(
        self,
        channel: ChannelId,
        kind: type[LatticeT],
        writer: PeerName,
        fragments: Mapping[PeerName, Fragment],
        on_bad: Any,
    ) -> None:
        self.id = channel
        self.kind = kind
        self.ticket = self.kept = 0
        """Number of our last update, and of the last one that was kept."""
        self._writer = writer
        self._on_bad = on_bad
        own = fragments.get(writer)
        self.trees = {name: fragment.tree for name, fragment in fragments.items()}
        """Everybody's entries; our own with those that wait to be signed."""
        self.signed: Tree | None = own.tree if own is not None else EMPTY
        """Our entries in our last signed fragment; None: they are to be signed in any case."""
        self.mine = self.state_of(self.tree)
        """The state that our own entries make. The value holds it at all times, however far behind
        it is: a mutator that did not see our own writes would name two of them alike."""
        self.fold = Fold(kind, self.trees, on_bad)
        self.fold.write(writer, self.mine, EMPTY, self.tree)
        self.refold: Fold[LatticeT] | None = None
        """The value on its way to be computed anew."""
        self._comparison: Comparison | None = None
        """Of the value with that, as soon as it has all entries."""
        self._leftover: list[Any] = []
        """Parts of a value that was replaced: to free all at once would take long too."""
        self.refolded_at = float("-inf")
        self.settled_entries = len(self.tree)
        self.is_undoing = False
        """True until the value is rid of updates that the disk refused."""

    @property
    def value(self) -> LatticeT:
        """The join of all fragments; of those joined so far, while it `is_behind`."""
        return self.fold.value

    @property
    def is_behind(self) -> bool:
        return self.fold.is_behind or self.refold is not None or not self.fold.only_grew

    @property
    def tree(self) -> Tree:
        """Our own entries."""
        return self.trees.get(self._writer, EMPTY)

    def state_of(self, tree: Tree) -> LatticeT:
        """What entries of ours mean."""
        return self.kind.from_entries(dict(tree), self._writer, overlook)

    def settle_when_grown(self) -> None:
        """Drop of our entries what others have beaten or removed, when that may be much."""
        grown = len(self.tree) > SETTLE_FACTOR * self.settled_entries + SETTLE_ENTRIES
        # Not by a value that may hold what its writer has taken back: nothing would be left then.
        if not grown or self.refold is not None or not self.fold.only_grew:
            return
        before = self.tree
        dropped = self.mine.settle(self.value, self._writer)
        self.trees[self._writer] = tree = before.updated(dropped.items())
        self.settled_entries = len(tree)
        self.fold.write(self._writer, self.kind(), before, tree)

    def write(self, delta: LatticeT, tree: Tree) -> list[Any]:
        """An update of ours: its effect on the value, and our entries with it."""
        before, self.trees[self._writer] = self.tree, tree
        self.ticket += 1
        changes = self.fold.write(self._writer, delta, before, tree)
        self._compare_again(changes)
        if self.refold is not None:
            self._compare_again(self.refold.write(self._writer, delta, before, tree))
        return changes

    def take_up(self, tree: Tree) -> list[Any]:
        """Entries of ours that another life of ours wrote: they count as ours again."""
        if tree.digest == self.tree.digest:
            return []  # As after each start: looking through all of them would take seconds.
        self.mine.apply(self.state_of(tree))
        joined = Tree.of(self.mine.to_entries(self._writer).items())
        if joined.digest != self.tree.digest:
            self.trees[self._writer] = joined
            self.changed(self._writer)
        changes = self.fold.value.apply(self.mine)
        self._compare_again(changes)
        return changes

    def undo(self, tree: Tree) -> list[Any]:
        """Our entries are these again: what came on top of them is refused."""
        self.trees[self._writer] = self.signed = tree
        self.ticket = self.kept
        self.mine = self.state_of(tree)
        self.fold.changed(self._writer)
        self._begin_refolding()
        self.is_undoing = True
        # A small channel is itself again before anybody can look.
        return self._go_on_refolding(OPEN_ENTRIES)

    def changed(self, writer: PeerName) -> None:
        for fold in (self.fold, self.refold):
            if fold is not None:
                fold.changed(writer)

    def work(self, now: float, limit: int) -> list[Any]:
        """Bring the value up to date, as far as that goes in one slice."""
        changes = self.fold.catch_up(limit)
        self._compare_again(changes)
        del self._leftover[-limit * KEYS_FOR_ENTRY :]
        if self.refold is not None:
            changes += self._go_on_refolding(limit)
        elif not self.fold.only_grew and now >= self.next_refold_at:
            self._begin_refolding()
            self.refolded_at = now
        return changes

    def _begin_refolding(self) -> None:
        # What is bad has been told of once already.
        self.refold = Fold(self.kind, self.trees, None)
        self._comparison = None

    def _go_on_refolding(self, limit: int) -> list[Any]:
        refold = self.refold
        assert refold is not None
        self._compare_again(refold.catch_up(limit))
        if refold.is_behind:
            return []
        if self._comparison is None:
            self._comparison = Comparison(self.fold.value, refold.value)
        self._comparison.go_on(limit * KEYS_FOR_ENTRY)
        if not self._comparison.finished:
            return []
        changes = self._comparison.result()
        if isinstance(self.fold.value, KeyedLattice):
            self._leftover += self.fold.value.parts()
        self.fold, self.refold, self._comparison = refold, None, None
        self.fold.on_bad = self._on_bad
        self.is_undoing = False
        return changes

    def _compare_again(self, changes: list[Any]) -> None:
        if self._comparison is not None:
            self._comparison.changed(changes)

    def next_work_at(self, now: float) -> float | None:
        """When `work` should be called next; None: not before something changes."""
        if self.fold.is_behind or self.refold is not None or self._leftover:
            return now
        return None if self.fold.only_grew else self.next_refold_at

    @property
    def next_refold_at(self) -> float:
        return self.refolded_at + REFOLD_INTERVAL_S


class Channels:
    """The channels that are open here, and the disk, if what is written shall be ``durable``.

    Pure, as `Gossip` is: give it updates, its events and what became of writing; then drain
    `next_event` and `records_to_write`.
    """

    def __init__(self, gossip: Gossip, origin: Origin, *, durable: bool) -> None:
        self._gossip = gossip
        self._origin = origin
        self._durable = durable
        self._open: dict[ChannelId, OpenChannel[Any]] = {}
        self._keeper = Keeper()
        self._records: list[bytes] = []
        # Our fragments that are being written, with the tickets they acknowledge.
        self._in_flight: list[tuple[OpenChannel[Any], Fragment, int]] | None = None
        # Fragments that are not as they were last written, less our own updates; and those of
        # them that are being written.
        self._unkept: dict[FragmentId, None] = {}
        self._being_kept: dict[FragmentId, None] = {}
        self._others_wait = False
        # What shall be written soon, and is being packed.
        self._to_prepare: dict[FragmentId, None] = {}
        self._events: deque[ChannelEvent] = deque()

    def open(self, name: str, kind: type[LatticeT]) -> OpenChannel[LatticeT]:
        """The channel of that name and type; the same one each time.

        Raises ConfigError for a name that cannot be one.
        """
        channel = ChannelId(name, kind.name)
        for what, text, max_bytes in (
            ("channel name", name, MAX_CHANNEL_NAME_BYTES),
            (f"{kind.__name__}.name", kind.name, MAX_TYPE_NAME_BYTES),
        ):
            try:
                pack_text(text, max_bytes)
            except (ValueError, TypeError) as error:
                raise ConfigError(f"{what} {error}") from None
            if not text:
                raise ConfigError(f"{what} is empty")
        opened = self._open.get(channel)
        if opened is None:

            def bad(writer: PeerName, key: bytes, error: MalformedError) -> None:
                text = f"entry {key.hex()} of channel {name}: {error}"
                self._events.append(BadEntry(writer, text))

            fragments = self._gossip.replica.channel(channel)
            opened = OpenChannel(channel, kind, self._origin.peer, fragments, bad)
            self._open[channel] = opened
            kept = self._keeper.get(channel, self._origin.peer)
            if kept is not None:
                # The mesh may have had a later fragment of ours that lacks some of it.
                opened.take_up(kept.tree)
            opened.fold.catch_up(OPEN_ENTRIES)
        if opened.kind is not kind:
            raise ConfigError(f"channel {name!r} is open with another class called {kind.name}")
        return opened

    def update(self, opened: OpenChannel[LatticeT], delta: LatticeT) -> int:
        """Join ``delta``, which a mutator of the value has made, into it: the update's ticket.

        Raises LocalProtocolError when our part of the channel, or an entry of it, would be too
        large or could be read by nobody, StateError while what the disk refused is being undone,
        and what the type raises. Then nothing has changed.
        """
        if opened.is_undoing:
            raise StateError("the disk has refused updates, which are being undone; try again")
        try:
            tree = self._written(opened, delta)
        except Exception:
            opened.mine = opened.state_of(opened.tree)
            raise
        if tree is opened.tree:
            return opened.ticket  # Nothing new, but perhaps what it repeats is not kept yet.
        self._tell(opened, opened.write(delta, tree))
        return opened.ticket

    def _written(self, opened: OpenChannel[LatticeT], delta: LatticeT) -> Tree:
        """Our entries with ``delta`` among them, which others will take for what they say."""
        name, writer = opened.id.name, self._origin.peer
        entries = opened.mine.publish(delta, writer)
        for key, value in entries.items():
            if len(key) > MAX_KEY_BYTES or len(value or b"") > MAX_VALUE_BYTES:
                raise LocalProtocolError(f"an entry too long for channel {name!r}")
        try:
            opened.kind.from_entries(entries, writer)
        except MalformedError as error:
            # A mistake of the type's: everybody would count it as a bad entry of ours.
            text = f"channel {name!r}: nobody could read what is to be written: {error}"
            raise LocalProtocolError(text) from error
        tree = opened.tree.updated(entries.items())
        if tree.size_bytes > MAX_FRAGMENT_BYTES:
            raise LocalProtocolError(f"our part of channel {name!r} would be too large")
        return tree

    @property
    def origin(self) -> Origin:
        """Whose updates ours are."""
        return self._origin

    # Signing, and the disk.

    @property
    def can_flush(self) -> bool:
        return self._in_flight is None and any(c.tree is not c.signed for c in self._open.values())

    def flush(self) -> None:
        """Sign what was updated: one signature per channel, however many updates."""
        if self._others_wait:
            self.keep_others()
        if not self.can_flush:
            return
        self._in_flight = []
        for opened in self._open.values():
            if opened.tree is not opened.signed:
                opened.settle_when_grown()
                fragment = self._gossip.sign(opened.id, opened.tree)
                self._in_flight.append((opened, fragment, opened.ticket))
                opened.signed = opened.tree
                if self._durable:
                    self._records.append(self._keeper.record_of(opened.id, fragment))
        if not self._durable:
            self.written()

    def load(self, records: Iterable[bytes], network_id: bytes) -> None:
        """Take up what was kept; call it first. Raises StateError."""
        for channel, fragment in self._keeper.load(records, network_id, self._origin.peer):
            self._gossip.publish(channel, fragment)

    def records_to_write(self) -> list[bytes]:
        """Records to append to the journal; answer with `written` or `not_written`."""
        records, self._records = self._records, []
        return records

    def written(self) -> None:
        """The last records are durable: tell everybody, and who waits for it."""
        batch, self._in_flight = self._in_flight or [], None
        self._keeper.done()
        self._being_kept.clear()
        for opened, fragment, ticket in batch:
            held = self._gossip.replica.get(opened.id, self._origin.peer)
            # Not in place of a later one of ours that the mesh had meanwhile.
            if held is None or held.head.order < fragment.head.order:
                self._gossip.publish(opened.id, fragment)
            opened.kept = ticket
            self._events.append(UpdatesKept(opened.id, ticket))

    def not_written(self, reason: str) -> None:
        """The disk refused: what nobody was told is undone."""
        batch, self._in_flight = self._in_flight or [], None
        self._keeper.undo()
        self._unkept = self._being_kept | self._unkept
        self._being_kept = {}
        for opened, _, _ in batch:
            own = self._gossip.replica.get(opened.id, self._origin.peer)
            self._tell(opened, opened.undo(own.tree if own is not None else EMPTY))
            self._events.append(UpdatesLost(opened.id, reason))

    def keep_others_soon(self) -> None:
        """As `keep_others`, when `work` has made the records ready."""
        if self._durable and self._unkept:
            self._to_prepare = dict(self._unkept)

    def _prepare_records(self) -> None:
        limit = PACKED_ENTRIES
        while self._to_prepare and limit > 0:
            key = next(iter(self._to_prepare))
            fragment = self._gossip.replica.get(*key)
            packed = self._keeper.prepare(key[0], fragment, limit) if fragment is not None else 0
            if packed < limit:
                del self._to_prepare[key]
            limit -= packed + 1
        if not self._to_prepare:
            self.keep_others()

    def keep_others(self) -> None:
        """Write down what others have changed since the last time; nobody waits for that."""
        if not self._durable:
            return
        if self._in_flight is not None:
            self._others_wait = True  # Their turn comes next, however many updates there are.
            return
        self._in_flight = []
        self._others_wait = False
        later: dict[FragmentId, None] = {}
        for channel, writer in self._unkept:
            newest = self._gossip.replica.get(channel, writer)
            if newest is None:
                removal = self._keeper.record_of_removal(channel, writer)
                if removal is not None:
                    self._records.append(removal)
                continue
            fragment = self._keeper.prepared(channel, writer) or newest
            if fragment is not newest:
                later[channel, writer] = None
            if fragment is not self._keeper.get(channel, writer):
                self._records.append(self._keeper.record_of(channel, fragment))
        self._being_kept, self._unkept = self._unkept, later
        if not self._records:
            self.written()

    def snapshot(self) -> list[bytes]:
        """All that is kept, to begin the journal anew with, while nothing is being written."""
        return self._keeper.snapshot()

    # What others do.

    def follow(self, event: Changed) -> None:
        """A fragment has changed."""
        if event.writer == self._origin.peer:
            return
        kept = self._keeper.get(event.channel, event.writer)
        if kept is None or kept.tree is not event.now:
            self._unkept[event.channel, event.writer] = None
        opened = self._open.get(event.channel)
        if opened is not None:
            opened.trees[event.writer] = event.now
            opened.changed(event.writer)

    def follow_removal(self, event: Removed) -> None:
        """A fragment of somebody else was let go: what it said counts no more."""
        self._unkept[event.channel, event.writer] = None
        opened = self._open.get(event.channel)
        if opened is not None:
            opened.trees[event.writer] = EMPTY
            opened.changed(event.writer)

    def take_back(self, channel: ChannelId, fragment: Fragment) -> None:
        """The mesh has a later fragment of ours: what we wrote and lost, or a twin of ours wrote.

        It is ours again, joined with what we have written since.
        """
        opened = self._open.get(channel)
        if opened is not None:
            self._tell(opened, opened.take_up(fragment.tree))
            if opened.tree.digest != fragment.tree.digest:
                # To be signed above it, also where it says nothing that we do not.
                opened.signed = None
                return
            # To sign it again would only make a twin of ours answer, and so on for ever.
            opened.signed = opened.tree
        self._gossip.publish(channel, fragment)
        key = (channel, self._origin.peer)
        if opened is not None or self._keeper.get(*key) is None:
            # Else the disk may have what this lacks: it is joined when the channel is opened.
            self._unkept[key] = None

    def next_work_at(self, now: float) -> float | None:
        """When `work` should be called next; None: not before something changes."""
        if self._to_prepare:
            return now
        times = (opened.next_work_at(now) for opened in self._open.values())
        return min((at for at in times if at is not None), default=None)

    def work(self, now: float) -> None:
        """Bring a value up to date, for a millisecond or so; the channels take turns."""
        if self._to_prepare:
            self._prepare_records()
            return
        for channel, opened in self._open.items():
            work_at = opened.next_work_at(now)
            if work_at is not None and work_at <= now:
                self._open[channel] = self._open.pop(channel)
                self._tell(opened, opened.work(now, SLICE_ENTRIES))
                return

    def next_event(self) -> ChannelEvent | None:
        return self._events.popleft() if self._events else None

    def _tell(self, opened: OpenChannel[Any], changes: list[Any]) -> None:
        if changes:
            self._events.append(ChannelChanged(opened.id, tuple(changes)))

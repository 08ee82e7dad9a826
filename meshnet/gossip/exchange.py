"""How fragments spread: deltas at once, then reconciliation of what was missed (wire.md section 6).

For each neighbour we remember which version of a fragment it was last told, or told us. A change
marks it as due; what is sent, when the link takes more, is the difference to the newest version: so
a slow neighbour gets few merged deltas, and no queue grows. Who gets a delta whose base it does not
have asks for the nodes of the tree that it lacks; who hears a digest other than its own walks the
neighbour's index of heads for those that are newer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from operator import attrgetter

from attrs import define

from meshnet.errors import AuthenticationError, DropReason
from meshnet.gossip.events import (
    Changed,
    Contradicted,
    GossipEvent,
    Ignored,
    Malformed,
    Removed,
    WrittenElsewhere,
)
from meshnet.gossip.fetch import Fetch, Unusable
from meshnet.gossip.fragments import (
    MAX_SEQUENCE,
    SEQUENCES_PER_START,
    Fragment,
    Head,
    fragment_of,
    sign_fragment,
    verify_head,
)
from meshnet.gossip.messages import (
    MAX_PATH_DIGITS,
    MAX_PATHS,
    MAX_PLACES,
    Delta,
    Feed,
    Have,
    InnerNode,
    Want,
    pack_announcement,
    pack_delta,
    pack_feed,
    pack_have,
    pack_nodes,
    pack_want,
    parse_delta,
    parse_feed,
    parse_have,
    parse_index_entry,
    parse_nodes,
    parse_want,
    place_of,
)
from meshnet.gossip.neighbour import MAX_FETCHES, Neighbour, pop_first
from meshnet.gossip.removals import (
    Removal,
    Removals,
    pack_removal,
    parse_removal,
    sign_removal,
    verify_removal,
)
from meshnet.gossip.replica import MAX_TOTAL_BYTES, FragmentId, Replica
from meshnet.gossip.restlessness import Restlessness
from meshnet.gossip.spreading import Spreading
from meshnet.gossip.superseded import Superseded
from meshnet.gossip.tree import EMPTY, EMPTY_DIGEST, Tree
from meshnet.gossip.unread import UnreadNodes
from meshnet.ids import ChannelId, PeerName
from meshnet.wire.crypto import HASH_BYTES
from meshnet.wire.cursor import MalformedError
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType

# Our choice. What all neighbours are told in one turn, a millisecond's work; the rest follows.
TURN_BYTES = 16 * 1024
# What a message counts besides its body, and what work counts that ends in nothing to tell.
MESSAGE_BYTES = 256
SILENT_BYTES = TURN_BYTES
# A small fragment is told whole to who has no known version of it.
WHOLE_FRAGMENT_BYTES = 16 * 1024
# How long somebody may take to give a fragment before who else tells of it is asked for the rest.
FETCH_PATIENCE_S = 5.0
MAX_REFUSED = 4096


@define(eq=False, repr=False)
class _Fetching:
    fetch: Fetch
    source: PeerName
    since: float
    """When that was chosen. However slowly it answers, somebody else may be faster."""


class Gossip:
    """All replicated state of one peer, and the exchange of it with its neighbours.

    ``told_by_writer(writer, peer)``: whether ``peer`` is a neighbour of ``writer``, which then
    tells it by itself. Pure: call `receive` and such, and `handle_timer` at `next_deadline`; then
    drain `messages_to_send` and `next_event`; while `has_more_to_send`, call `messages_to_send`
    again soon. ``made_anew``: channels of which our part begins anew with each start, so nothing of
    it can be lost. ``is_alive(peer)``: whether the mesh sees that peer, whose fragments nobody
    shall remove then.
    """

    def __init__(
        self,
        identity: Identity,
        network_id: bytes,
        *,
        incarnation: int,
        first_sequence: int,
        told_by_writer: Callable[[PeerName, PeerName], bool],
        is_alive: Callable[[PeerName], bool],
        made_anew: Collection[ChannelId] = (),
    ) -> None:
        self.replica = Replica()
        self.removals = Removals()
        self._identity = identity
        self._network_id = network_id
        self._incarnation = incarnation
        self._first_sequence = first_sequence
        self._told_by_writer = told_by_writer
        self._is_alive = is_alive
        self._made_anew = made_anew
        # The greatest sequence of an earlier start whose fragment ours takes account of.
        self._recalled: dict[ChannelId, int] = {}
        self._superseded = Superseded()
        self._neighbours: dict[PeerName, Neighbour] = {}
        self._spreading = Spreading(identity.name, self.replica, self._neighbours)
        self._restlessness = Restlessness()
        self._fetches: dict[FragmentId, _Fetching] = {}
        self.coming_bytes = 0
        """About what those parts cost that have come of fragments not yet whole."""
        self._refused: dict[bytes, None] = {}
        # Whether there may be something to send; most inputs of a peer are not for us.
        self._stirred = False
        self._served = 0
        self._packed: tuple[Fragment, Tree, bytes] | None = None
        self._now = 0.0
        self._events: deque[GossipEvent] = deque()
        # The greatest sequence of ours that we know of: the next is above it.
        self._sequences: dict[ChannelId, int] = {}

    # Our own fragments.

    def sign(self, channel: ChannelId, tree: Tree) -> Fragment:
        """Our next fragment of ``channel``, not yet held or told: see `publish`."""
        # Who has our key may have signed the last number there is; with another content under it
        # we at least show as contradicted.
        sequence = max(self._sequences.get(channel, 0), self._first_sequence) + 1
        sequence = min(sequence, MAX_SEQUENCE)
        self._sequences[channel] = sequence
        return sign_fragment(
            self._identity,
            self._network_id,
            channel,
            tree,
            incarnation=self._incarnation,
            sequence=sequence,
        )

    def publish(self, channel: ChannelId, fragment: Fragment) -> None:
        """Hold a fragment of ours, or one that was kept on disk, and tell all neighbours."""
        head = fragment.head
        if head.writer == self._identity.name:
            self.go_above(channel, head.sequence)
            self._recall(channel, head)
        self._stirred = True
        self._adopt(channel, fragment, None)

    def go_above(self, channel: ChannelId, sequence: int) -> None:
        """Our next fragment of ``channel`` shall have a greater sequence than this."""
        self._sequences[channel] = max(self._sequences.get(channel, 0), sequence)

    # Removing what peers that are gone have left.

    def remove(self, channel: ChannelId, writer: PeerName, now: float) -> None:
        """Let go of a fragment that is held, and have everybody else do so."""
        fragment = self.replica.get(channel, writer)
        if fragment is not None:
            removal = sign_removal(self._identity, self._network_id, channel, fragment.head)
            self._stirred = True
            self._let_go(removal, None, now)

    def revive(self) -> None:
        """Take up again what was removed of peers that turn out to be alive."""
        void = [removal.key for removal in self.removals if not self._counts(removal)]
        for key in void:
            self.removals.let_go(key)
        if void:
            self._stirred = True
            self._ask_others(None)

    # Neighbours.

    def neighbour_up(self, peer: PeerName, *, is_reached: bool = False) -> None:
        """A link to ``peer`` stands: tell it what is ours and what it may have forgotten, and
        compare the rest. ``is_reached``: there was a way to it before, by which news comes."""
        self._stirred = True
        neighbour = self._neighbours[peer] = Neighbour(peer, may_wait=is_reached)
        for channel in self.replica.channels():
            if self.replica.get(channel, self._identity.name) is not None:
                neighbour.due[channel, self._identity.name] = None
        # It may have started again far away, or have lost the link before it had it all.
        neighbour.to_remind = dict.fromkeys(self._superseded.of(peer))

    def neighbour_down(self, peer: PeerName) -> None:
        if self._neighbours.pop(peer, None) is None:
            return
        self._restlessness.forget(peer)
        lost = [key for key, fetching in self._fetches.items() if fetching.source == peer]
        for key in lost:
            self._end_fetch(key)
        if lost:
            self._stirred = True
            self._ask_others(peer)

    def set_writable(self, peer: PeerName, writable: bool) -> None:
        """Whether the link takes more bytes now. What changes meanwhile is told later, merged."""
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.writable = writable
            self._stirred = True

    def compare_with(self, peer: PeerName) -> None:
        """Tell ``peer`` our digest: it will ask for what it lacks."""
        neighbour = self._neighbours.get(peer)
        if neighbour is not None:
            neighbour.digest_due = True
            self._stirred = True

    def receive(self, peer: PeerName, kind: MessageType, body: bytes, now: float) -> None:
        """A gossip message of a neighbour. Raises MalformedError: the neighbour is to blame."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return
        self._stirred = True
        self._now = now
        if kind is MessageType.DELTA:
            self._receive_delta(neighbour, parse_delta(body), now)
        elif kind is MessageType.DIGEST:
            if len(body) != HASH_BYTES:
                raise MalformedError(f"digest of {len(body)} bytes")
            self._receive_digest(neighbour, body, now)
        elif kind is MessageType.WANT:
            if len(neighbour.requests) > 2 * MAX_FETCHES:
                raise MalformedError("more requests than answers were waited for")
            neighbour.requests.append(parse_want(body))
        elif kind is MessageType.REMOVAL:
            self._receive_removal(neighbour, parse_removal(body), now)
        elif kind is MessageType.NODES:
            self._receive_nodes(neighbour, UnreadNodes(parse_nodes(body)))
        elif kind is MessageType.HAVE:
            self._spreading.receive_have(neighbour, parse_have(body), now)
        elif kind is MessageType.FEED:
            self._spreading.receive_feed(neighbour, parse_feed(body))

    def handle_timer(self, now: float) -> None:
        """Announce what was not told at once, and ask for what others have announced."""
        self._now = now
        if self._spreading.handle_timer(now, self._fetches):
            self._stirred = True
        for peer in self._restlessness.pop_due(now):
            neighbour = self._neighbours[peer]
            if neighbour.digest != self.replica.index.digest:
                neighbour.start_walk()
                self._stirred = True

    def next_deadline(self) -> float | None:
        deadlines = (self._spreading.next_deadline(), self._restlessness.next_deadline())
        return min((at for at in deadlines if at is not None), default=None)

    # Outputs.

    def next_event(self) -> GossipEvent | None:
        return self._events.popleft() if self._events else None

    @property
    def has_more_to_send(self) -> bool:
        return self._stirred and any(n.writable and n.has_work for n in self._neighbours.values())

    def messages_to_send(self) -> list[tuple[PeerName, MessageType, bytes]]:
        """One turn's messages for neighbours whose links take more; these take turns."""
        messages: list[tuple[PeerName, MessageType, bytes]] = []
        if not self._stirred:
            return messages
        ready = (n for n in self._neighbours.values() if n.writable and n.has_work)
        waiting = deque(sorted(ready, key=attrgetter("served")))
        left_bytes = TURN_BYTES
        while waiting and left_bytes > 0:
            neighbour = waiting.popleft()
            self._served += 1
            neighbour.served = self._served
            message = self._next_message(neighbour)
            if message is not None:
                messages.append((neighbour.peer, *message))
                left_bytes -= MESSAGE_BYTES + len(message[1])
            else:
                left_bytes -= SILENT_BYTES
            if neighbour.has_work:
                waiting.append(neighbour)
        self._stirred = self.has_more_to_send
        return messages

    def _next_message(self, neighbour: Neighbour) -> tuple[MessageType, bytes] | None:
        if neighbour.digest_due:
            neighbour.digest_due = False
            return MessageType.DIGEST, self.replica.index.digest
        if neighbour.to_remind:
            key = pop_first(neighbour.to_remind)
            old = self._superseded.get(key)
            return (MessageType.DELTA, pack_announcement(key[0], old.head)) if old else None
        if neighbour.removed:
            removal = self.removals.get(pop_first(neighbour.removed))
            return (MessageType.REMOVAL, pack_removal(removal)) if removal is not None else None
        if neighbour.requests:
            return self._answer(neighbour.requests.popleft())
        if neighbour.feed_due:
            return self._feed(neighbour)
        if neighbour.unread:
            self._read_on(neighbour)
            return None
        if neighbour.walk and not neighbour.walk_asked:
            neighbour.walk_asked = True
            # The last first, so depth first: what is still to be looked at stays little.
            paths = tuple(islice(reversed(neighbour.walk), MAX_PATHS))
            return MessageType.WANT, pack_want(Want(None, EMPTY_DIGEST, paths))
        if neighbour.to_ask and neighbour.may_ask:
            return self._ask(neighbour)
        return self._tell(neighbour) if neighbour.due else self._announce(neighbour)

    def _ask(self, neighbour: Neighbour) -> tuple[MessageType, bytes] | None:
        key = pop_first(neighbour.to_ask)
        fetching = self._fetches.get(key)
        if fetching is None or fetching.source != neighbour.peer:
            return None
        fetch = fetching.fetch
        try:
            paths = fetch.paths_to_ask()
            if fetch.finished and fetch.join():
                self._fetched(neighbour, key[0], fetch)
                return None
        except Unusable as unusable:
            self._unusable(neighbour, key[0], fetch.head, unusable)
            return None
        if not paths:
            neighbour.to_ask[key] = None  # More of what is there has to be worked through first.
            return None
        neighbour.asked.add(key)
        return MessageType.WANT, pack_want(Want(key, fetch.head.root, paths))

    def _tell(self, neighbour: Neighbour) -> tuple[MessageType, bytes] | None:
        key = pop_first(neighbour.due)
        fragment, told = self.replica.get(*key), neighbour.told.get(key)
        if fragment is None or fragment is told:
            return None
        neighbour.told[key] = fragment
        neighbour.under_way.add(key)
        channel = key[0]
        if told is None and fragment.tree.size_bytes > WHOLE_FRAGMENT_BYTES:
            return MessageType.DELTA, pack_announcement(channel, fragment.head)
        base = told.tree if told is not None else EMPTY
        packed = self._packed
        if packed is None or packed[0] is not fragment or packed[1] is not base:
            # Most neighbours are told the same.
            self._packed = packed = (fragment, base, pack_delta(channel, fragment, base))
        return MessageType.DELTA, packed[2]

    def _announce(self, neighbour: Neighbour) -> tuple[MessageType, bytes] | None:
        fragments: list[tuple[bytes, int]] = []
        while neighbour.to_announce and len(fragments) < MAX_PLACES:
            key = pop_first(neighbour.to_announce)
            fragment = self.replica.get(*key)
            if fragment is not None and fragment is not neighbour.told.get(key):
                fragments.append((place_of(*key), fragment.head.sequence))
        return (MessageType.HAVE, pack_have(Have(tuple(fragments)))) if fragments else None

    def _feed(self, neighbour: Neighbour) -> tuple[MessageType, bytes]:
        places = neighbour.to_want[:MAX_PLACES]
        del neighbour.to_want[:MAX_PLACES]
        neighbour.feed_due = bool(neighbour.to_want)
        return MessageType.FEED, pack_feed(Feed(neighbour.eager, tuple(places)))

    def _answer(self, want: Want) -> tuple[MessageType, bytes] | None:
        if want.tree is None:
            tree = self.replica.index
        else:
            fragment = self.replica.get(*want.tree)
            if fragment is None:
                return MessageType.NODES, pack_nodes(want.tree, want.root, ())
            old = self._superseded.get(want.tree)
            if old is not None and old.head.root == want.root:
                fragment = old
            if fragment.head.root != want.root:
                announcement = pack_announcement(want.tree[0], fragment.head, answers=True)
                return MessageType.DELTA, announcement
            tree = fragment.tree
        nodes = [(path, tree.node_at(path)) for path in want.paths]
        return MessageType.NODES, pack_nodes(want.tree, want.root, nodes)

    # What neighbours say.

    def _receive_digest(self, neighbour: Neighbour, digest: bytes, now: float) -> None:
        neighbour.digest = digest
        if digest == self.replica.index.digest:
            self._restlessness.forget(neighbour.peer)
        elif not (neighbour.may_wait and self._restlessness.puts_off(neighbour.peer, now)):
            neighbour.start_walk()
        neighbour.may_wait = True

    def _receive_delta(self, neighbour: Neighbour, delta: Delta, now: float) -> None:
        key = (delta.channel, delta.head.writer)
        if not delta.answers:
            self._consider(neighbour, delta, now)
            return
        neighbour.asked.discard(key)
        self._consider(neighbour, delta, now)
        fetching = self._fetches.get(key)
        if fetching is not None and fetching.source == neighbour.peer:
            # It has moved on; so do we, if that is any newer.
            if fetching.fetch.head.raw == delta.head.raw:
                neighbour.to_ask[key] = None
            else:
                self._end_fetch(key)

    def _consider(self, neighbour: Neighbour, delta: Delta, now: float) -> None:
        """A head of anybody's: is it news, and can it be had?"""
        channel, head = delta.channel, delta.head
        key = (channel, head.writer)
        mine = self.replica.get(channel, head.writer)
        if mine is not None and mine.head.raw == head.raw:
            neighbour.knows(key, mine)
            if delta.base is not None:
                self._spreading.told_twice(neighbour, head.writer)
            return
        removal = self.removals.covering(channel, head)
        if removal is not None:
            if self._counts(removal):
                neighbour.removed[key] = None
                return
            self.removals.let_go(key)
        fetching = self._fetches.get(key)
        on_its_way = (
            fetching is not None
            and head.order <= fetching.fetch.head.order
            and now - fetching.since < FETCH_PATIENCE_S
        )
        if (on_its_way and delta.base is None) or head.raw in self._refused:
            return
        contradiction = mine is not None and mine.head.contradicts(head)
        older = mine is not None and head.order < mine.head.order
        lost = older and self._is_lost(channel, head)
        is_under_way = key in neighbour.under_way and neighbour.told.get(key) is mine
        if older and not lost and not is_under_way:
            # Whoever still has the older one shall have ours, its writer above all: a peer whose
            # disk was set back learns so that it must go on above what it once wrote. What was
            # told is on its way: to tell it again for each older one that has met it would make
            # most work where there is most to do.
            neighbour.told.pop(key, None)
            neighbour.due[key] = None
        if older and not contradiction and not lost:
            return
        coming = len(self._fetches) - (fetching is not None)
        if not older and not self.replica.has_room_for(
            channel, head, coming=coming, coming_bytes=self.coming_bytes
        ):
            self._no_room(neighbour, channel, head)
            return
        try:
            verify_head(head, self._network_id, channel)
        except AuthenticationError as error:
            self._ignore(neighbour, DropReason.BAD_FRAGMENT, f"head of {head.writer}: {error}")
            return
        if contradiction:
            self._events.append(Contradicted(channel, head.writer))
        if older and not lost:
            return
        if delta.base is not None:
            base = EMPTY if delta.base == EMPTY_DIGEST else mine.tree if mine is not None else None
            if base is not None and base.digest == delta.base:
                fragment = fragment_of(head, base.updated(delta.changes))
                if fragment is not None:
                    self._adopt(channel, fragment, neighbour)
                    return
        if on_its_way:
            return
        self._fetch(neighbour, channel, head, mine.tree if mine is not None else EMPTY, now)

    def _fetch(
        self, neighbour: Neighbour, channel: ChannelId, head: Head, have: Tree, now: float
    ) -> None:
        key = (channel, head.writer)
        fetching = self._fetches.get(key)
        try:
            if fetching is None:
                fetching = _Fetching(Fetch(head, have), neighbour.peer, now)
                self._fetches[key] = fetching
            else:
                if fetching.source != neighbour.peer:
                    fetching.source, fetching.since = neighbour.peer, now
                self.coming_bytes -= fetching.fetch.held_bytes
                try:
                    fetching.fetch.retarget(head)
                finally:
                    self.coming_bytes += fetching.fetch.held_bytes
            if fetching.fetch.finished and fetching.fetch.join():
                self._fetched(neighbour, channel, fetching.fetch)
            elif key not in neighbour.asked and key not in neighbour.unread:
                neighbour.to_ask[key] = None
        except Unusable as unusable:
            self._unusable(neighbour, channel, head, unusable)

    def _receive_nodes(self, neighbour: Neighbour, answer: UnreadNodes) -> None:
        key = answer.tree
        if key is not None:
            if key not in neighbour.asked:
                return  # Nothing was asked, and what may be long is not kept unasked.
            neighbour.asked.discard(key)
            if key not in self._fetches:
                return
        elif not neighbour.walk_asked or key in neighbour.unread:
            return  # Nothing was asked.
        if answer.is_long:
            neighbour.unread[key] = answer
        else:
            self._look_at(neighbour, answer)

    def _read_on(self, neighbour: Neighbour) -> None:
        """Look at some more of what the neighbour has answered; its answers take turns."""
        key, answer = next(iter(neighbour.unread.items()))
        del neighbour.unread[key]
        try:
            self._look_at(neighbour, answer)
        except MalformedError as error:
            self._events.append(Malformed(neighbour.peer, str(error)))

    def _look_at(self, neighbour: Neighbour, answer: UnreadNodes) -> None:
        if answer.tree is None:
            self._walk(neighbour, answer)
        else:
            self._take_nodes(neighbour, answer.tree, answer)

    def _take_nodes(self, neighbour: Neighbour, key: FragmentId, answer: UnreadNodes) -> None:
        fetching = self._fetches.get(key)
        if fetching is None or fetching.source != neighbour.peer:
            return
        fetch, channel = fetching.fetch, key[0]
        if fetch.head.root != answer.root:
            neighbour.to_ask[key] = None
            return
        if not answer.left:
            self._end_fetch(key)
            self._ask_others(neighbour.peer)
            return
        before = fetch.held_bytes
        try:
            try:
                fetch.give(answer.take())
            finally:
                self.coming_bytes += fetch.held_bytes - before
            if fetch.finished and fetch.join():
                self._fetched(neighbour, channel, fetch)
            elif self.replica.size_bytes + self.coming_bytes > MAX_TOTAL_BYTES:
                self._end_fetch(key)
                self._no_room(neighbour, channel, fetch.head)
            elif answer.left:
                neighbour.unread[key] = answer
            else:
                neighbour.to_ask[key] = None
        except Unusable as unusable:
            self._unusable(neighbour, channel, fetch.head, unusable)

    def _fetched(self, neighbour: Neighbour, channel: ChannelId, fetch: Fetch) -> None:
        fragment = fetch.result()
        head = fragment.head
        self._end_fetch((channel, head.writer))
        mine = self.replica.get(channel, head.writer)
        if mine is not None and mine.head.order >= head.order and not self._is_lost(channel, head):
            return
        if self.replica.has_room_for(channel, head):
            self._adopt(channel, fragment, neighbour)
        else:
            self._no_room(neighbour, channel, head)

    def _end_fetch(self, key: FragmentId) -> None:
        fetching = self._fetches.pop(key, None)
        if fetching is not None:
            self.coming_bytes -= fetching.fetch.held_bytes

    def _ask_others(self, gone: PeerName | None) -> None:
        """Others have announced what ``gone`` does not give us, and were not asked for it."""
        for neighbour in self._neighbours.values():
            if neighbour.peer != gone:
                neighbour.start_walk()

    def _unusable(
        self, neighbour: Neighbour, channel: ChannelId, head: Head, why: Unusable
    ) -> None:
        self._end_fetch((channel, head.writer))
        self._refuse(head)
        self._ignore(neighbour, DropReason.BAD_FRAGMENT, f"written by {head.writer.short}: {why}")

    def _no_room(self, neighbour: Neighbour, channel: ChannelId, head: Head) -> None:
        text = f"no room for what {head.writer.short} writes in {channel.name}"
        self._ignore(neighbour, DropReason.STATE_FULL, text)

    def _walk(self, neighbour: Neighbour, answer: UnreadNodes) -> None:
        """Part of the neighbour's index: where it differs from ours, look on; heads, consider."""
        index = self.replica.index
        if not answer.left and neighbour.walk:
            raise MalformedError("an answer without nodes")
        for path, told in answer.take():
            if path not in neighbour.walk:
                raise MalformedError("a node of the index that was not asked for")
            del neighbour.walk[path]
            if isinstance(told, InnerNode):
                if len(path) == MAX_PATH_DIGITS:
                    raise MalformedError("an index deeper than digests are long")
                for number, digest in enumerate(told.children):
                    below = path + f"{number:x}"
                    mine = index.node_at(below)
                    if digest is not None and (mine is None or mine.digest != digest):
                        neighbour.walk[below] = None
            else:
                for entry in told.entries:
                    channel, head = parse_index_entry(entry)
                    self._consider(neighbour, Delta(channel, head, None), self._now)
        if answer.left:
            neighbour.unread[None] = answer
        else:
            neighbour.walk_asked = False

    # What comes of it.

    def _adopt(self, channel: ChannelId, fragment: Fragment, source: Neighbour | None) -> None:
        writer = fragment.head.writer
        if writer == self._identity.name and source is not None:
            self.go_above(channel, fragment.head.sequence)
            self._recall(channel, fragment.head)
            self._events.append(WrittenElsewhere(channel, fragment))
            return
        key = (channel, writer)
        self._hold_superseded(channel, fragment.head)
        self.removals.let_go(key)
        before = self.replica.put(channel, fragment)
        fetching = self._fetches.get(key)
        if fetching is not None and fetching.fetch.head.order <= fragment.head.order:
            self._end_fetch(key)
        if source is not None:
            self._restlessness.stir(self._now)
            source.knows(key, fragment)
        for neighbour in self._neighbours.values():
            if neighbour is source or neighbour.peer == writer:
                continue
            if source is None:
                neighbour.due[key] = None
            elif not self._told_by_writer(writer, neighbour.peer):
                self._spreading.pass_on(neighbour, key, self._now)
        self._events.append(Changed(channel, writer, before, fragment.tree))

    def _receive_removal(self, neighbour: Neighbour, removal: Removal, now: float) -> None:
        channel, head, key = removal.channel, removal.head, removal.key
        mine, fetching = self.replica.get(*key), self._fetches.get(key)
        if mine is None and fetching is None:
            return  # Nothing to let go of, so nothing to remember: who has it is told by others.
        if mine is not None and mine.head.order > head.order:
            neighbour.told.pop(key, None)
            neighbour.due[key] = None
            return
        ours = head.writer == self._identity.name
        if not (ours and removal.is_farewell) and not self._counts(removal):
            text = f"{removal.by.short} removes {head.writer.short}, which is not gone"
            self._ignore(neighbour, DropReason.NOT_GONE, text)
            return
        try:
            if mine is None or mine.head.raw != head.raw:
                verify_head(head, self._network_id, channel)
            verify_removal(removal, self._network_id)
        except AuthenticationError as error:
            self._ignore(neighbour, DropReason.BAD_FRAGMENT, f"removal of {head.writer}: {error}")
            return
        if ours:
            assert mine is not None, "nobody fetches what it writes"
            # We took leave for good, and are back with an older disk.
            self.go_above(channel, head.sequence)
            self._events.append(WrittenElsewhere(channel, self.sign(channel, mine.tree)))
            return
        self._let_go(removal, neighbour, now)

    def _counts(self, removal: Removal) -> bool:
        """Nobody but itself removes who is there."""
        return removal.is_farewell or not self._is_alive(removal.head.writer)

    def _let_go(self, removal: Removal, source: Neighbour | None, now: float) -> None:
        key = removal.key
        self.removals.hold(removal, now)
        self._superseded.let_go(key)
        fetching, mine = self._fetches.get(key), self.replica.get(*key)
        if fetching is not None and removal.covers(fetching.fetch.head):
            self._end_fetch(key)
        self.replica.remove(*key)
        for neighbour in self._neighbours.values():
            neighbour.forget(key)
            if neighbour is not source:
                neighbour.removed[key] = None
        if mine is not None:
            self._events.append(Removed(*key, removal.by, mine.tree))

    def _is_lost(self, channel: ChannelId, head: Head) -> bool:
        """True for a head of ours, of an earlier start, that our disk does not know.

        It was set back: what we write now is newer, and lacks what we wrote then.
        """
        return (
            head.writer == self._identity.name
            and channel not in self._made_anew
            and self._recalled.get(channel, 0) < head.sequence <= self._first_sequence
        )

    def _recall(self, channel: ChannelId, head: Head) -> None:
        if head.sequence <= self._first_sequence:
            self._recalled[channel] = max(self._recalled.get(channel, 0), head.sequence)

    def _hold_superseded(self, channel: ChannelId, head: Head) -> None:
        """Where a writer has started again, its last fragment may be all that is left of it."""
        old = self.replica.get(channel, head.writer)
        if old is None or channel in self._made_anew or head.writer == self._identity.name:
            return
        if old.head.sequence // SEQUENCES_PER_START == head.sequence // SEQUENCES_PER_START:
            return
        key = (channel, head.writer)
        self._superseded.hold(key, old)
        writer = self._neighbours.get(head.writer)
        if writer is not None:
            writer.to_remind[key] = None

    def _refuse(self, head: Head) -> None:
        if len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[head.raw] = None

    def _ignore(self, neighbour: Neighbour, reason: DropReason, text: str) -> None:
        self._events.append(Ignored(neighbour.peer, reason, text))

"""Fetching a fragment's tree: only what is missing, nothing that its writer has not signed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meshnet.gossip.fetch import JOIN_NODES, Fetch, Unusable
from meshnet.gossip.fragments import Head, parse_head, sign_fragment
from meshnet.gossip.messages import (
    Entries,
    InnerNode,
    Told,
    pack_nodes,
    parse_nodes,
)
from meshnet.gossip.tree import EMPTY, Leaf, Path, Tree, spot_of
from meshnet.wire.cursor import MalformedError
from support.records import TOPOLOGY, signed
from support.samples import ALICE, NETWORK_ID

OLD = Tree.of((b"key %d" % number, b"value %d" % number) for number in range(2000))
CHANGED = OLD.updated([(b"key 77", b"another"), (b"key 78", None), (b"one more", b"")])


def head_of(tree: Tree, sequence: int = 1) -> Head:
    return sign_fragment(ALICE, NETWORK_ID, TOPOLOGY, tree, incarnation=1, sequence=sequence).head


def head_saying(root: bytes, size_bytes: int) -> Head:
    """What a writer may sign, too."""
    numbers = (1).to_bytes(8, "big") + (1).to_bytes(8, "big")
    body = ALICE.public_key + numbers + size_bytes.to_bytes(4, "big") + root
    return parse_head(signed(ALICE, body))


def answer(tree: Tree, paths: Iterable[Path]) -> list[tuple[Path, Told]]:
    nodes = pack_nodes(None, tree.digest, [(path, tree.node_at(path)) for path in paths])
    return list(parse_nodes(nodes).nodes)


def run(fetch: Fetch, tree: Tree) -> list[Path]:
    """Ask until it is all there; gives what was asked for."""
    asked: list[Path] = []
    while not fetch.finished:
        nodes = answer(tree, fetch.paths_to_ask())
        asked += [path for path, _ in nodes]
        fetch.give(nodes)
    return asked


@pytest.mark.parametrize("tree", [EMPTY, Tree.of([(b"a", b"b")]), OLD], ids=["none", "one", "many"])
def test_a_fragment_is_fetched_whole(tree: Tree) -> None:
    fetch = Fetch(head_of(tree), EMPTY)
    run(fetch, tree)
    assert fetch.result().head == head_of(tree)
    assert dict(fetch.result().tree) == dict(tree)


def test_only_what_has_changed_is_asked_for_and_the_rest_is_shared() -> None:
    fetch = Fetch(head_of(CHANGED), OLD)
    asked = run(fetch, CHANGED)
    assert len(asked) <= 1 + 3 * 3
    result = fetch.result().tree
    assert result.digest == CHANGED.digest
    for path in "0123456789abcdef":
        mine, old = result.node_at(path), OLD.node_at(path)
        assert mine is not None
        assert (mine is old) == (old is not None and mine.digest == old.digest)


def test_what_is_held_already_needs_no_asking() -> None:
    fetch = Fetch(head_of(OLD), OLD)
    assert fetch.finished
    assert fetch.result().tree.root is OLD.root
    assert Fetch(head_of(EMPTY), OLD).result().tree.digest == EMPTY.digest


def test_a_newer_head_keeps_what_is_there() -> None:
    fetch = Fetch(head_of(OLD), EMPTY)
    for _ in range(3):
        fetch.give(answer(OLD, fetch.paths_to_ask()))
    assert not fetch.finished
    whole = len(run(Fetch(head_of(CHANGED, 2), EMPTY), CHANGED))
    before = fetch.held_bytes
    fetch.retarget(head_of(EMPTY.updated(OLD), 2))
    fetch.retarget(head_of(CHANGED, 3))
    assert before - 2000 < fetch.held_bytes <= before, "all but the root"
    asked = run(fetch, CHANGED)
    assert 0 < len(asked) < whole - 60
    assert fetch.result().head.sequence == 3
    assert fetch.result().tree.digest == CHANGED.digest


def test_a_writer_that_never_rests_is_fetched_all_the_same() -> None:
    tree = OLD
    fetch = Fetch(head_of(tree), EMPTY)
    for number in range(1000):
        # It is always one step ahead.
        tree = tree.updated([(b"key %d" % (number % 2000), b"another %d" % number)])
        fetch.retarget(head_of(tree, 2 + number))
        for _ in range(3):
            fetch.give(answer(tree, fetch.paths_to_ask()))
        if fetch.finished:
            break
    assert fetch.result().tree.digest == tree.digest
    assert number < 50


def test_what_came_for_older_heads_is_bounded() -> None:
    fetch = Fetch(head_of(OLD), EMPTY)
    for number in range(20):
        tree = Tree.of((b"%d of %d" % (n, number), bytes(100)) for n in range(500))
        fetch.retarget(head_of(tree, 2 + number))
        run(fetch, tree)
        assert fetch.held_bytes < 4 * OLD.size_bytes
    small = Tree.of([(b"key", b"value")])
    fetch.retarget(head_of(small, 30))
    run(fetch, small)
    assert fetch.held_bytes < 1000


def test_a_newer_head_that_is_there_already_ends_the_fetch() -> None:
    fetch = Fetch(head_of(CHANGED), OLD)
    assert fetch.paths_to_ask() == ("",)
    fetch.retarget(head_of(OLD, 2))
    assert fetch.finished
    assert fetch.result().tree.root is OLD.root


def test_nodes_that_were_asked_for_before_are_passed_over() -> None:
    fetch = Fetch(head_of(OLD), OLD)
    fetch.give([("", Entries(((b"anything", b""),)))])
    assert fetch.finished


def test_half_an_answer_is_one() -> None:
    fetch = Fetch(head_of(OLD), EMPTY)
    while not fetch.finished:
        fetch.give(answer(OLD, fetch.paths_to_ask())[:1])
    assert fetch.result().tree.digest == OLD.digest


def test_what_comes_is_counted() -> None:
    fetch = Fetch(head_of(OLD), EMPTY)
    assert fetch.held_bytes == 0
    run(fetch, OLD)
    assert OLD.size_bytes < fetch.held_bytes < 2 * OLD.size_bytes


# The carrier is to blame.


def test_forged_nodes_are_noticed() -> None:
    [(path, root)] = answer(OLD, [""])
    assert isinstance(root, InnerNode)
    for forged in (
        InnerNode((None, *root.children[1:])),
        InnerNode((root.children[1], root.children[0], *root.children[2:])),
        Entries(()),
        Entries(tuple(OLD.updated([(b"key 1", b"")]))),
    ):
        fetch = Fetch(head_of(OLD), EMPTY)
        with pytest.raises(MalformedError, match="digest"):
            fetch.give([(path, forged)])
        assert fetch.paths_to_ask() == ("",), "it is still wanted"


def test_entries_of_another_place_are_noticed() -> None:
    fetch = Fetch(head_of(OLD), EMPTY)
    fetch.give(answer(OLD, [""]))
    for path in ("0", "1"):
        entries = tuple((key, value) for key, value in OLD if spot_of(key)[0] == path)
        with pytest.raises(MalformedError, match="stands elsewhere"):
            fetch.give([("2", Entries(entries))])


def test_an_entry_given_twice_is_noticed() -> None:
    tree = Tree.of([(b"key", b"1")])
    for values in ((b"1", b"1"), (b"1", b"2")):
        with pytest.raises(MalformedError, match="twice"):
            Fetch(head_of(tree), EMPTY).give(
                [("", Entries(tuple((b"key", value) for value in values)))]
            )


# The writer is to blame.


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_wrong_size_makes_a_fragment_unusable(difference: int) -> None:
    fetch = Fetch(head_saying(OLD.digest, OLD.size_bytes + difference), EMPTY)

    def fetched() -> Tree:
        run(fetch, OLD)
        return fetch.result().tree

    with pytest.raises(Unusable):
        fetched()


def test_more_entries_than_are_said_are_not_taken_in() -> None:
    fetch = Fetch(head_saying(OLD.digest, OLD.size_bytes // 2), EMPTY)
    with pytest.raises(Unusable, match="more"):
        run(fetch, OLD)
    assert fetch.held_bytes < 2 * OLD.size_bytes


def chain(below: bytes, spot: str, levels: int) -> list[tuple[Path, InnerNode]]:
    """Nodes from the root down that have one child each; the last has ``below``."""
    nodes: list[tuple[Path, InnerNode]] = []
    for depth in reversed(range(levels)):
        digit = int(spot[depth], 16)
        node = InnerNode(tuple(below if number == digit else None for number in range(16)))
        nodes.append((spot[:depth], node))
        below = node.digest
    return nodes[::-1]


@pytest.mark.parametrize("levels", [1, 5])
def test_a_tree_of_another_shape_than_its_entries_have_is_unusable(levels: int) -> None:
    leaf = Leaf(b"key", b"value")
    nodes = chain(leaf.digest, leaf.spot, levels)
    fetch = Fetch(head_saying(nodes[0][1].digest, leaf.size_bytes), EMPTY)
    fetch.give(nodes)
    fetch.give([(leaf.spot[:levels], Entries(((b"key", b"value"),)))])
    assert fetch.finished
    with pytest.raises(Unusable, match="shape"):
        fetch.result()


def test_a_node_without_children_is_unusable() -> None:
    childless = InnerNode((None,) * 16)
    fetch = Fetch(head_saying(childless.digest, 0), EMPTY)
    fetch.give([("", childless)])
    with pytest.raises(Unusable, match="shape"):
        fetch.result()


def test_a_tree_deeper_than_digests_are_long_is_unusable() -> None:
    spot = "a" * 65
    nodes = chain(bytes(range(32)), spot, 65)
    fetch = Fetch(head_saying(nodes[0][1].digest, 2**20), EMPTY)
    fetch.give(nodes[:-1])
    assert fetch.paths_to_ask() == (spot[:64],)
    with pytest.raises(Unusable, match="nodes"):
        fetch.give(nodes[-1:])


def test_endless_inner_nodes_are_unusable() -> None:
    # All subtrees of one level are the same node, so that signing this costs nothing.
    levels = [InnerNode((bytes(range(32)),) * 16)]
    for _ in range(10):
        levels.append(InnerNode((levels[-1].digest,) * 16))
    levels.reverse()
    fetch = Fetch(head_saying(levels[0].digest, 64_000), EMPTY)
    given: list[Path] = []

    def give_all() -> None:
        while paths := fetch.paths_to_ask():
            given.extend(paths)
            fetch.give([(path, levels[len(path)]) for path in paths])

    with pytest.raises(Unusable, match="nodes"):
        give_all()
    assert len(given) < 2 * 1000 + 64 + 64


def test_what_has_come_is_joined_bit_by_bit() -> None:
    # Nodes with two entries or more are told by their digests above 2048 bytes.
    large = Tree.of((b"key %d" % number, bytes(2000)) for number in range(2000))
    fetch = Fetch(head_of(large), EMPTY)
    run(fetch, large)
    turns = 1
    while not fetch.join():
        turns += 1
    inner_nodes = sum(isinstance(node, InnerNode) for node in fetch._nodes.values())
    assert turns > inner_nodes / JOIN_NODES >= 2
    assert dict(fetch.result().tree) == dict(large)
    # A newer head makes it begin anew.
    fetch = Fetch(head_of(OLD), EMPTY)
    run(fetch, OLD)
    fetch.join(limit=3)
    fetch.retarget(head_of(CHANGED, 2))
    run(fetch, CHANGED)
    while not fetch.join(limit=3):
        pass
    assert fetch.result().tree.digest == CHANGED.digest

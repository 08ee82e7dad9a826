"""Bodies of gossip messages: nodes as they are told, limits, what no peer would send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.gossip.fragments import MAX_KEY_BYTES, MAX_VALUE_BYTES, Fragment, sign_fragment
from meshnet.gossip.messages import (
    MAX_BODY_BYTES,
    MAX_CHANGES,
    MAX_PATHS,
    WHOLE_BELOW_BYTES,
    Entries,
    InnerNode,
    TreeId,
    Want,
    pack_announcement,
    pack_delta,
    pack_index_entry,
    pack_nodes,
    pack_want,
    parse_delta,
    parse_index_entry,
    parse_nodes,
    parse_want,
)
from meshnet.gossip.tree import EMPTY, EMPTY_DIGEST, Inner, Node, Tree, spot_of
from meshnet.wire.crypto import HASH_BYTES
from meshnet.wire.cursor import MalformedError
from support.records import TOPOLOGY
from support.samples import ALICE, BOB, NETWORK_ID

ROOT = bytes(range(32))
TREE_ID = (TOPOLOGY, ALICE.name)
BIG = Tree.of((b"key %d" % number, bytes(100)) for number in range(200))
SMALL = Tree.of((b"key %d" % number, b"value") for number in range(5))


def fragment(tree: Tree = SMALL) -> Fragment:
    return sign_fragment(ALICE, NETWORK_ID, TOPOLOGY, tree, incarnation=1, sequence=1)


def told(node: Node | None, path: str = "") -> Entries | InnerNode:
    nodes = parse_nodes(pack_nodes(TREE_ID, ROOT, [(path, node)]))
    assert (nodes.tree, nodes.root) == (TREE_ID, ROOT)
    [(at, said)] = nodes.nodes
    assert at == path
    return said


# Wants.


@pytest.mark.parametrize("tree", [None, TREE_ID], ids=["index", "fragment"])
@pytest.mark.parametrize("paths", [(), ("",), ("a", "ab", "abc", "0" * 64, "f" * 63)])
def test_a_want_is_read_as_written(tree: TreeId, paths: tuple[str, ...]) -> None:
    want = Want(tree, ROOT, paths)
    assert parse_want(pack_want(want)) == want


def test_so_many_paths_may_be_wanted_at_once() -> None:
    paths = tuple(f"{number:02x}" for number in range(MAX_PATHS + 1))
    parse_want(pack_want(Want(None, ROOT, paths[:-1])))
    with pytest.raises(MalformedError, match="65 paths"):
        parse_want(pack_want(Want(None, ROOT, paths)))


@pytest.mark.parametrize(
    "path",
    [b"\x01\x0a", b"\x01\xa1", b"\x41" + bytes(33), b"\x02", b"\x03\xab\xcd"],
    ids=["wrong half", "leftover digit", "too long", "cut off", "leftover of three"],
)
def test_a_path_has_one_form(path: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_want(b"\0" + ROOT + b"\1" + path)


# Nodes.


def test_a_big_node_is_told_as_the_digests_below_it() -> None:
    node = BIG.root
    assert isinstance(node, Inner)
    said = told(node)
    assert isinstance(said, InnerNode)
    assert said.digest == node.digest
    assert said.children == tuple(child and child.digest for child in node.children)


@pytest.mark.parametrize("tree", [EMPTY, Tree.of([(b"key", b"value")]), SMALL])
def test_a_small_node_is_told_whole(tree: Tree) -> None:
    said = told(tree.root)
    assert isinstance(said, Entries)
    assert Tree.of(said.entries).digest == tree.digest


def test_the_bound_of_a_small_node_counts_what_holding_it_costs() -> None:
    def of_size(size_bytes: int) -> Node | None:
        tree = Tree.of([(b"a", b""), (b"b", bytes(size_bytes - 2 * 64 - 2))])
        assert tree.size_bytes == size_bytes
        return tree.root

    assert isinstance(told(of_size(WHOLE_BELOW_BYTES)), Entries)
    assert isinstance(told(of_size(WHOLE_BELOW_BYTES + 1)), InnerNode)


def test_a_single_entry_is_told_whole_however_big() -> None:
    entry = (bytes(MAX_KEY_BYTES), bytes(MAX_VALUE_BYTES))
    assert told(Tree.of([entry]).root, spot_of(entry[0])) == Entries((entry,))


def test_no_node_is_told_as_no_entries() -> None:
    assert told(None, "123") == Entries(())


def test_an_answer_holds_what_fits_and_something_at_least() -> None:
    tree = Tree.of((b"%d" % number, bytes(MAX_VALUE_BYTES)) for number in range(8))
    nodes = [(spot_of(key), tree.node_at(spot_of(key))) for key, _ in tree]
    body = pack_nodes(TREE_ID, ROOT, nodes)
    assert len(body) <= MAX_BODY_BYTES + 200
    assert [path for path, _ in parse_nodes(body).nodes] == [path for path, _ in nodes[:1]]
    assert parse_nodes(pack_nodes(TREE_ID, ROOT, ())).nodes == ()


def test_all_that_may_be_wanted_at_once_of_a_big_tree_fits_one_answer() -> None:
    tree = Tree.of((b"%d" % number, bytes(200)) for number in range(64 * 256))
    nodes = [(path, tree.node_at(path)) for path in (f"{n:02x}" for n in range(MAX_PATHS))]
    assert len(parse_nodes(pack_nodes(TREE_ID, ROOT, nodes)).nodes) >= MAX_PATHS - 10


HEAD_OF_NODES = b"\0" + ROOT + b"\1" + b"\0"


@pytest.mark.parametrize(
    "node",
    [
        b"\3",
        b"\1\x80",
        b"\1\x80\x00" + bytes(31),
        b"\2\1\x02\x01",
        b"\2\1\x02\x01" + bytes(MAX_KEY_BYTES + 1) + b"\0\0",
        b"\2\1\0\0\x44\x01" + bytes(MAX_VALUE_BYTES + 1),
        b"\0\0",
    ],
    ids=["form", "bitmap", "digest", "cut off", "key", "value", "leftover"],
)
def test_nodes_that_no_peer_would_tell(node: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_nodes(HEAD_OF_NODES + node)


def test_another_kind_of_tree_is_malformed() -> None:
    for parse in (parse_nodes, parse_want):
        with pytest.raises(MalformedError, match="form 2"):
            parse(b"\2" + ROOT + b"\0")


# Deltas.


def test_a_delta_is_read_as_written() -> None:
    said = parse_delta(pack_delta(TOPOLOGY, fragment(), EMPTY))
    assert (said.channel, said.head, said.base) == (TOPOLOGY, fragment().head, EMPTY_DIGEST)
    assert EMPTY.updated(said.changes).digest == SMALL.digest
    assert not said.answers


@pytest.mark.parametrize("answers", [False, True])
def test_an_announcement_says_the_head_alone(answers: bool) -> None:
    said = parse_delta(pack_announcement(TOPOLOGY, fragment().head, answers=answers))
    assert (said.head, said.base, said.changes) == (fragment().head, None, ())
    assert said.answers == answers


def test_changes_that_do_not_fit_are_announced() -> None:
    entries = [(b"%d" % number, bytes(16_000)) for number in range(2)]
    fits, too_many = Tree.of(entries), Tree.of([*entries, (b"2", bytes(1000))])
    assert parse_delta(pack_delta(TOPOLOGY, fragment(fits), SMALL)).base == SMALL.digest
    assert parse_delta(pack_delta(TOPOLOGY, fragment(too_many), SMALL)).base is None
    whole = parse_delta(pack_delta(TOPOLOGY, fragment(too_many), EMPTY, limit_bytes=None))
    assert EMPTY.updated(whole.changes).digest == too_many.digest


def test_a_change_is_a_value_or_that_it_is_gone() -> None:
    base = Tree.of([(b"same", b"same"), (b"key", b"before"), (b"gone", b"")])
    tree = Tree.of([(b"same", b"same"), (b"key", b"value"), (b"", b"")])
    said = parse_delta(pack_delta(TOPOLOGY, fragment(tree), base))
    assert said.base == base.digest
    assert set(said.changes) == {(b"key", b"value"), (b"", b""), (b"gone", None)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: body + b"\0\0\2",
        lambda body: body + b"\x02\x01" + bytes(MAX_KEY_BYTES + 1) + b"\0",
        lambda body: body + b"\0\0\1\x44\x01" + bytes(MAX_VALUE_BYTES + 1),
    ],
    ids=["cut off", "leftover", "form of change", "key", "value"],
)
def test_deltas_that_no_peer_would_send(damage: Callable[[bytes], bytes]) -> None:
    body = pack_delta(TOPOLOGY, fragment(), EMPTY)
    with pytest.raises(MalformedError):
        parse_delta(damage(body))


def test_small_entries_are_not_more_work_than_large_ones() -> None:
    many = Tree.of((b"%d" % number, b"") for number in range(MAX_CHANGES + 1))
    assert parse_delta(pack_delta(TOPOLOGY, fragment(many), EMPTY)).base is None
    body = pack_delta(TOPOLOGY, fragment(many), EMPTY, limit_bytes=None)
    assert len(parse_delta(body, limit=None).changes) == MAX_CHANGES + 1, "on disk there may be"
    with pytest.raises(MalformedError, match="changes"):
        parse_delta(body)
    entries = b"".join(b"\0\2%02d\0\0" % number for number in range(40))
    head = b"\0" + bytes(HASH_BYTES)
    with pytest.raises(MalformedError, match="too much for one node"):
        parse_nodes(head + b"\1" + b"\0\2" + bytes((40,)) + entries)
    with pytest.raises(MalformedError, match="65 nodes"):
        parse_nodes(head + bytes((65,)) + b"\0\0" * 65)


def test_an_announcement_has_nothing_after_it() -> None:
    body = pack_announcement(TOPOLOGY, fragment().head)
    for wrong in (body + b"\0", body[:-1], body[:-1] + b"\3"):
        with pytest.raises(MalformedError):
            parse_delta(wrong)


# The index.


def test_an_index_entry_is_read_as_written() -> None:
    head = fragment().head
    assert parse_index_entry(pack_index_entry(TOPOLOGY, head)) == (TOPOLOGY, head)


def test_an_index_entry_is_its_writers() -> None:
    key, value = pack_index_entry(TOPOLOGY, fragment().head)
    for wrong in (key[:-16] + BOB.name, key[:-1], key + b"\0", b""):
        with pytest.raises(MalformedError):
            parse_index_entry((wrong, value))

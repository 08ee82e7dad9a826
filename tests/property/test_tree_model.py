"""A hash tree is a dict whose digest follows from its content alone."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshnet.gossip.tree import EMPTY, Change, Inner, Leaf, Node, Tree, leaves_of, spot_of

KEYS = st.integers(0, 60).map(lambda number: b"%d" % number)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.sampled_from([b"", b"x", b"y" * 40])))
BATCHES = st.lists(CHANGES, max_size=8)


def apply(model: dict[bytes, bytes], changes: list[Change]) -> None:
    for key, value in changes:
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


def check(node: Node | None, path: str) -> None:
    """Every node is where it belongs and sums up what is below it."""
    if isinstance(node, Inner):
        leaves = list(leaves_of(node))
        assert node.count == len(leaves) >= 2
        assert node.size_bytes == sum(leaf.size_bytes for leaf in leaves)
        for number, child in enumerate(node.children):
            check(child, path + f"{number:x}")
    elif isinstance(node, Leaf):
        assert node.spot == spot_of(node.key)
        assert node.spot.startswith(path)


@given(BATCHES)
def test_a_tree_is_a_dict(batches: list[list[Change]]) -> None:
    model: dict[bytes, bytes] = {}
    tree = EMPTY
    for changes in batches:
        before, was = tree, dict(model)
        tree = tree.updated(changes)
        apply(model, changes)
        assert dict(tree) == model
        assert len(tree) == len(model)
        assert all(tree.get(key) == model.get(key) for key in was | model | dict(changes))
        assert (tree is before) == (model == was)
        assert dict(before) == was, "trees are values"
        check(tree.root, "")
        found = list(tree.changes_since(before))
        assert {key: (old, new) for key, old, new in found} == {
            key: (was.get(key), model.get(key))
            for key in was | model
            if was.get(key) != model.get(key)
        }
        assert len({key for key, *_ in found}) == len(found)
        assert before.updated((key, new) for key, _, new in found).digest == tree.digest


@given(BATCHES, st.randoms(use_true_random=False))
def test_equal_content_has_equal_digests_however_it_came_about(
    batches: list[list[Change]], shuffler: random.Random
) -> None:
    model: dict[bytes, bytes] = {}
    tree = EMPTY
    for changes in batches:
        tree = tree.updated(changes)
        apply(model, changes)
    entries = list(model.items())
    shuffler.shuffle(entries)
    assert Tree.of(entries).digest == tree.digest
    one_by_one = EMPTY
    for entry in entries:
        one_by_one = one_by_one.updated([entry])
    assert one_by_one.digest == tree.digest


@given(
    st.dictionaries(KEYS, st.binary(max_size=2), max_size=5),
    st.dictionaries(KEYS, st.binary(max_size=2), max_size=5),
)
def test_other_content_has_another_digest(
    one: dict[bytes, bytes], other: dict[bytes, bytes]
) -> None:
    digests = (Tree.of(one.items()).digest, Tree.of(other.items()).digest)
    assert (digests[0] == digests[1]) == (one == other)

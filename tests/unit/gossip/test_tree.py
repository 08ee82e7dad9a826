"""Hash trees: a map whose shape and digest follow from its content, and changes that share."""

from __future__ import annotations

import pytest

from meshnet.gossip.tree import (
    EMPTY,
    EMPTY_DIGEST,
    ENTRY_BYTES,
    SHARED_VALUE_BYTES,
    Inner,
    Leaf,
    Node,
    Tree,
    build,
    leaves_of,
    spot_of,
)
from meshnet.wire.crypto import blake2b

ENTRIES = [(b"key %d" % number, b"value %d" % number) for number in range(1000)]
TREE = Tree.of(ENTRIES)


def neighbours(digits: int) -> tuple[bytes, bytes]:
    """Two keys whose spots agree in at least so many digits."""
    seen: dict[str, bytes] = {}
    for number in range(100_000):
        key = b"%d" % number
        other = seen.setdefault(spot_of(key)[:digits], key)
        if other != key:
            return other, key
    raise AssertionError("no two found")


def inner_nodes(node: Node | None) -> set[int]:
    """The identities of all inner nodes."""
    if not isinstance(node, Inner):
        return set()
    return {id(node)}.union(*(inner_nodes(child) for child in node.children))


def test_nothing_has_a_digest_too() -> None:
    assert (EMPTY.digest, len(EMPTY), EMPTY.size_bytes, list(EMPTY)) == (bytes(32), 0, 0, [])
    assert bytes(32) == EMPTY_DIGEST
    assert Tree.of([]) is EMPTY
    assert EMPTY.get(b"") is None
    assert EMPTY.node_at("") is None


def test_digests_are_those_of_the_specification() -> None:
    # wire.md section 6.2.
    leaf = blake2b(b"\0\3key" + b"value", b"meshnet-leaf")
    assert Tree.of([(b"key", b"value")]).digest == leaf
    one, other = sorted((b"key", b"other"), key=spot_of)
    children = [blake2b(b"\0" + bytes((len(key),)) + key, b"meshnet-leaf") for key in (one, other)]
    digits = [int(spot_of(key)[0], 16) for key in (one, other)]
    assert digits[0] != digits[1]
    bitmap = sum(1 << digit for digit in digits).to_bytes(2, "big")
    both = blake2b(bitmap + b"".join(children), b"meshnet-inner")
    assert Tree.of([(one, b""), (other, b"")]).digest == both


def test_length_of_key_and_value_are_kept_apart() -> None:
    assert Leaf(b"ab", b"c").digest != Leaf(b"a", b"bc").digest


def test_size_counts_entries_keys_and_values() -> None:
    assert Tree.of([(b"key", b"value"), (b"", b"")]).size_bytes == 2 * ENTRY_BYTES + 8
    grown = TREE.updated([(b"key 1", b"longer than before")])
    assert grown.size_bytes - TREE.size_bytes == len(b"longer than before") - len(b"value 1")


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [(b"no such key", None)],
        [(b"key 1", b"value 1")],
        ENTRIES,
        [(b"key 1", None), (b"key 1", b"value 1")],
    ],
    ids=["none", "absent gone", "same value", "all the same", "gone and back"],
)
def test_what_changes_nothing_gives_the_very_same_tree(
    changes: list[tuple[bytes, bytes | None]],
) -> None:
    assert TREE.updated(changes) is TREE


def test_the_last_of_several_changes_to_one_key_counts() -> None:
    tree = EMPTY.updated([(b"key", b"1"), (b"other", b""), (b"key", None), (b"key", b"2")])
    assert dict(tree) == {b"key": b"2", b"other": b""}


def test_a_change_shares_all_but_one_way_from_the_root() -> None:
    changed = TREE.updated([(b"key 500", b"another")])
    new = inner_nodes(changed.root) - inner_nodes(TREE.root)
    depth = 0
    while isinstance(TREE.node_at(spot_of(b"key 500")[:depth]), Inner):
        depth += 1
    assert len(new) == depth <= 6
    assert dict(TREE) == dict(ENTRIES), "the old one is as it was"


def test_an_entry_that_comes_and_goes_leaves_the_digest_as_it_was() -> None:
    near, far = neighbours(3)
    tree = TREE.updated([(near, b"")])
    again = tree.updated([(far, b"")]).updated([(far, None)])
    assert again.digest == tree.digest
    assert len(inner_nodes(again.root)) == len(inner_nodes(tree.root))


def test_keys_that_hash_alike_stand_deeper_and_nowhere_else() -> None:
    near, far = neighbours(3)
    tree = Tree.of([(near, b"n"), (far, b"f")])
    common = spot_of(near)[:3]
    assert (tree.get(near), tree.get(far)) == (b"n", b"f")
    for depth in range(4):
        assert {leaf.key for leaf in leaves_of(tree.node_at(common[:depth]))} == {near, far}
    assert tree.node_at(f"{int(common[0], 16) ^ 1:x}") is None
    assert isinstance(tree.updated([(far, None)]).root, Leaf), "a lone entry stands at the root"


def test_a_node_is_found_by_the_front_of_its_entries_spots() -> None:
    assert TREE.node_at("") is TREE.root
    for path in ("0", "f", "3a", "123", spot_of(b"key 7"), spot_of(b"key 7")[:30]):
        below = {key for key, _ in ENTRIES if spot_of(key).startswith(path)}
        assert {leaf.key for leaf in leaves_of(TREE.node_at(path))} == below


def test_a_lone_entry_is_found_by_any_front_of_its_spot_only() -> None:
    tree = Tree.of([(b"key", b"value")])
    spot = spot_of(b"key")
    assert {tree.node_at(spot[:length]) for length in range(65)} == {tree.root}
    wrong = spot[:5] + f"{int(spot[5], 16) ^ 1:x}"
    assert tree.node_at(wrong) is None


def test_entries_are_told_in_the_order_of_their_spots() -> None:
    assert [key for key, _ in TREE] == sorted((key for key, _ in ENTRIES), key=spot_of)


def test_changes_are_found_without_looking_at_the_rest() -> None:
    changed = TREE.updated([(b"key 3", b"new"), (b"key 4", None), (b"another", b"one")])
    assert sorted(changed.changes_since(TREE)) == [
        (b"another", None, b"one"),
        (b"key 3", b"value 3", b"new"),
        (b"key 4", b"value 4", None),
    ]
    assert list(changed.changes_since(changed)) == []
    # Trees that do not share are compared by digests.
    assert len(list(changed.changes_since(Tree.of(ENTRIES)))) == 3


def test_built_is_as_updated() -> None:
    built = build({spot_of(entry[0]): Leaf(*entry) for entry in ENTRIES}, 0)
    assert built is not None
    assert built.digest == TREE.digest


def test_small_entries_are_made_once_and_others_are_not() -> None:
    """Thousands of records say of the same peer that they are linked to it."""
    one, other = Tree.of([(b"link", b"\0")]), Tree.of([(b"link", b"\0")])
    assert one.root is other.root
    large = bytes(SHARED_VALUE_BYTES + 1)
    assert Tree.of([(b"key", large)]).root is not Tree.of([(b"key", large)]).root
    assert Tree.of([(b"key", large)]).digest == Leaf(b"key", large).digest

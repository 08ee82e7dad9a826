"""Replicated types without any network: lattices, joined by hand.

Whoever gets the same news, in whatever order and however often, ends up equal.
"""

import os
import sys

from meshnet.crdt import Counter, LwwMap, Origin, OrSet
from meshnet.wire.identity import Identity

# Who writes: a peer, and the life of its disk.
ALICE, BOB = (Origin(Identity.of_seed(os.urandom(32)).name, 1) for _ in range(2))


def main() -> None:
    # A set. Mutators change nothing; they make a delta, and `apply` joins it.
    mine = OrSet()
    for fruit in ("apple", "pear"):
        mine.apply(mine.add(ALICE, fruit))
    theirs = mine.copy()

    # Apart: Alice removes the pear, Bob adds it again without having heard of that.
    mine.apply(mine.remove(ALICE, "pear"))
    theirs.apply(theirs.add(BOB, "pear"))
    both = mine.merge(theirs)
    print(f"Alice has {sorted(mine)}, Bob has {sorted(theirs)}, together {sorted(both)}")
    if both != theirs.merge(mine) or both.merge(mine) != both:
        sys.exit("the order shows, or what came twice")
    if set(both) != {"apple", "pear"}:
        sys.exit("an add has lost against a removal that did not know of it")

    # A counter: everybody counts for themselves, and nothing is counted twice.
    ours = Counter()
    ours.apply(ours.add(ALICE, 3))
    delta = ours.add(BOB, 4)
    for _ in range(3):
        ours.apply(delta)
    print(f"3 and 4, which came three times: {ours.value}")
    if ours.value != 7:
        sys.exit("what came twice was counted twice")

    # A map on its way through a file: entries are what channels carry and disks keep.
    names = LwwMap()
    names.apply(names.put(ALICE, "www", b"10.32.0.5"))
    entries = names.to_entries(ALICE.peer)
    if LwwMap.from_entries(entries, ALICE.peer) != names:
        sys.exit("what is read back is not what was written")
    for key, value in entries.items():
        print(f"one entry: {key!r} -> {value!r}")


main()

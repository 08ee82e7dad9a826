"""Items in order, whatever comes and goes, and no piece grows."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right

from meshnet.crdt.ordered import PIECE_ITEMS, Ordered


def test_it_is_a_sorted_list() -> None:
    draw = random.Random(1)
    ordered: Ordered[int] = Ordered()
    model: list[int] = []
    for growing in (0.7, 0.3, 0.55, 0.0):
        for _ in range(8 * PIECE_ITEMS):
            if draw.random() < growing:
                item = draw.randrange(2**40)
                ordered.add(item)
                model.append(item)
            elif model:
                item = model.pop(draw.randrange(len(model)))
                ordered.remove(item)
            assert bool(ordered) == bool(model)
            assert not model or draw.random() < 0.9 or ordered.last == max(model)
        model.sort()
        assert list(ordered) == model
        for _ in range(50):
            first = draw.choice([*model, draw.randrange(2**40)])
            last = draw.choice([*model, draw.randrange(2**40), first])
            expected = model[bisect_left(model, first) : bisect_right(model, last)]
            assert ordered.between(first, last) == expected
    assert model == []


def test_a_copy_goes_its_own_way() -> None:
    ordered = Ordered(1, 2, 3)
    twin = ordered.copy()
    twin.add(4)
    twin.remove(1)
    assert (list(ordered), list(twin)) == ([1, 2, 3], [2, 3, 4])


def test_no_piece_grows_whatever_the_order() -> None:
    for items in (range(5000), range(5000, 0, -1)):
        ordered: Ordered[int] = Ordered()
        for item in items:
            ordered.add(item)
        assert max(map(len, ordered._pieces)) <= PIECE_ITEMS
        assert list(ordered) == sorted(items)

"""What users will see change when a value that was made anew takes the place of the old one.

For a hundred thousand keys that takes half a second, and frames must not wait for it: so the keys
are compared some at a time, while both values go on to change.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from meshnet.crdt.base import KeyedLattice, Lattice


class Comparison:
    """Of ``before`` and ``now``; `finished` when all keys have been compared.

    `changed` has to be told of whatever is seen to change in either of them meanwhile.
    """

    def __init__(self, before: Lattice[Any], now: Lattice[Any]) -> None:
        self._before = before
        self._now = now
        self._keyed: tuple[KeyedLattice[Any], KeyedLattice[Any]] | None = None
        """Both; None: a type without keys, which is compared at the end."""
        keys: list[str] = []
        if isinstance(before, KeyedLattice) and isinstance(now, KeyedLattice):
            self._keyed = before, now
            # Into a list, in a moment: the states may change. What is in both comes twice.
            keys += before.known_keys()
            keys += now.known_keys()
        self._keys = iter(keys)
        self._found: dict[str, Any] = {}
        self.finished = False

    def go_on(self, limit: int) -> None:
        """Compare up to ``limit`` keys."""
        keys = list(islice(self._keys, limit))
        self._compare(keys)
        self.finished = len(keys) < limit

    def changed(self, changes: Iterable[Any]) -> None:
        """Users would see these in one of both: what has been found there may not be so now."""
        if self._keyed is not None:
            self._compare(map(self._keyed[1].key_of, changes))

    def _compare(self, keys: Iterable[str]) -> None:
        if self._keyed is None:
            return
        before, now = self._keyed
        for key in keys:
            change = now.change_at(key, before)
            if change is not None:
                self._found[key] = change
            else:
                self._found.pop(key, None)

    def result(self) -> list[Any]:
        """All that users see change, when `finished`."""
        if self._keyed is None:
            return self._now.changes_since(self._before)
        return list(self._found.values())

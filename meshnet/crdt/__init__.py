"""Replicated types: lattices, and the entries by which a channel carries them (docs/crdt.md).

The names are loaded when first used: a node knows lattices, and no type until a channel opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshnet.crdt.base import CounterExhausted as CounterExhausted
    from meshnet.crdt.base import ElementChange as ElementChange
    from meshnet.crdt.base import KeyChange as KeyChange
    from meshnet.crdt.base import KeyedLattice as KeyedLattice
    from meshnet.crdt.base import Lattice as Lattice
    from meshnet.crdt.base import ValueChange as ValueChange
    from meshnet.crdt.counter import Counter as Counter
    from meshnet.crdt.dots import Origin as Origin
    from meshnet.crdt.lww import LwwMap as LwwMap
    from meshnet.crdt.lww import LwwRegister as LwwRegister
    from meshnet.crdt.orset import OrMap as OrMap
    from meshnet.crdt.orset import OrSet as OrSet
    from meshnet.wire.cursor import MalformedError as MalformedError

_HOMES = {
    "Counter": "meshnet.crdt.counter",
    "CounterExhausted": "meshnet.crdt.base",
    "ElementChange": "meshnet.crdt.base",
    "KeyChange": "meshnet.crdt.base",
    "KeyedLattice": "meshnet.crdt.base",
    "Lattice": "meshnet.crdt.base",
    "LwwMap": "meshnet.crdt.lww",
    "LwwRegister": "meshnet.crdt.lww",
    "MalformedError": "meshnet.wire.cursor",
    "OrMap": "meshnet.crdt.orset",
    "OrSet": "meshnet.crdt.orset",
    "Origin": "meshnet.crdt.dots",
    "ValueChange": "meshnet.crdt.base",
}

__all__ = [
    "Counter",
    "CounterExhausted",
    "ElementChange",
    "KeyChange",
    "KeyedLattice",
    "Lattice",
    "LwwMap",
    "LwwRegister",
    "MalformedError",
    "OrMap",
    "OrSet",
    "Origin",
    "ValueChange",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'meshnet.crdt' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

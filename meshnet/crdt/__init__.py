"""Replicated types: lattices, and the entries by which a channel carries them (docs/crdt.md)."""

from meshnet.crdt.base import CounterExhausted as CounterExhausted
from meshnet.crdt.base import ElementChange as ElementChange
from meshnet.crdt.base import KeyChange as KeyChange
from meshnet.crdt.base import Lattice as Lattice
from meshnet.crdt.base import ValueChange as ValueChange
from meshnet.crdt.counter import Counter as Counter
from meshnet.crdt.dots import Origin as Origin
from meshnet.crdt.lww import LwwMap as LwwMap
from meshnet.crdt.lww import LwwRegister as LwwRegister
from meshnet.crdt.orset import OrMap as OrMap
from meshnet.crdt.orset import OrSet as OrSet

__all__ = [
    "Counter",
    "CounterExhausted",
    "ElementChange",
    "KeyChange",
    "Lattice",
    "LwwMap",
    "LwwRegister",
    "OrMap",
    "OrSet",
    "Origin",
    "ValueChange",
]

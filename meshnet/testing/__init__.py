"""The public test kit: in-memory twins of the seams, to test programs built on meshnet."""

from meshnet.testing.frame_port import MemoryPort as MemoryPort

__all__ = ["MemoryPort"]

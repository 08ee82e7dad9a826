"""The replay window: accepts each counter of a session once, in any order within the window.

The ring of bit blocks of RFC 6479: moving the window clears whole blocks, so no step shifts bits.
"""

from __future__ import annotations

# From wire.md section 5.3: at least 8192 counters behind the newest are accepted. At 10 Gb/s of
# full datagrams that is 10 ms of reordering.
WINDOW = 8192

# Our choice. One block more than the window, so that the block being filled never costs history.
_BLOCK_BITS = 64
_BLOCKS = 256
_SPAN = (_BLOCKS - 1) * _BLOCK_BITS
assert _SPAN >= WINDOW


class ReplayWindow:
    """Remembers which counters (u64) were seen."""

    __slots__ = ("_bits", "_newest")

    def __init__(self) -> None:
        self._bits = [0] * _BLOCKS
        self._newest = -1

    def is_past(self, counter: int) -> bool:
        """Whether ``counter`` fell out of the window: nobody remembers if it was seen."""
        return self._newest - counter >= _SPAN

    def has_seen(self, counter: int) -> bool:
        """Whether `accept` would refuse ``counter``. Anybody's counter may be asked of."""
        if counter > self._newest:
            return False
        block, bit = divmod(counter, _BLOCK_BITS)
        return self.is_past(counter) or bool(self._bits[block % _BLOCKS] >> bit & 1)

    def is_newest(self, counter: int) -> bool:
        """Whether nothing later than ``counter`` has been accepted."""
        return counter >= self._newest

    def accept(self, counter: int) -> bool:
        """True once per counter; False for a repeat or one that fell out of the window.

        Call it only with counters of datagrams that were authenticated: a forged one must not be
        able to move the window.
        """
        block = counter // _BLOCK_BITS
        newest = self._newest
        bits = self._bits
        if counter > newest:
            newest_block = newest // _BLOCK_BITS
            if block != newest_block:
                for stale in range(max(newest_block + 1, block - _BLOCKS + 1), block + 1):
                    bits[stale % _BLOCKS] = 0
            self._newest = counter
        elif self.is_past(counter):
            return False
        slot = block % _BLOCKS
        mask = 1 << (counter % _BLOCK_BITS)
        if bits[slot] & mask:
            return False
        bits[slot] |= mask
        return True

"""How good the underlay of a lab is: what each packet between two hosts goes through."""

from __future__ import annotations

from meshnet.values import Value


class Impairments(Value):
    """None by default. All of it holds for each direction by itself."""

    loss_percent: float = 0.0
    """How many of a hundred packets between two hosts do not arrive; each has its own luck."""
    delay_s: float = 0.0
    """How much longer a packet is under way from one host to another."""
    jitter_s: float = 0.0
    """Up to that much is added to the delay, for each packet anew. None overtakes another."""
    rate_bits_per_s: float = 0.0
    """What a host can send, and what it can receive. 0: as much as the machine manages."""

    @property
    def needs_wire(self) -> bool:
        """Whether packets have to wait somewhere: the kernel's bridge drops, but never waits."""
        return bool(self.delay_s or self.jitter_s or self.rate_bits_per_s)

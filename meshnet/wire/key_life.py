"""How long keys are used: renewed in good time, refused when they are old (wire.md section 4.1)."""

from __future__ import annotations

from meshnet.values import Value

# From wire.md section 4.1: a key is renewed after this, and refused after one and a half times it.
REKEY_AFTER_S = 120.0
REJECT_AFTER_S = 180.0


class KeyLife(Value):
    """The ages of keys, in seconds. Shorter ones than the default are for tests and the wary."""

    rekey_after_s: float = REKEY_AFTER_S

    @property
    def reject_after_s(self) -> float:
        """A key of this age is neither sent nor received by."""
        return self.rekey_after_s * (REJECT_AFTER_S / REKEY_AFTER_S)

    @property
    def step_in_after_s(self) -> float:
        """When the end whose turn it is not renews, because the other has not."""
        return self.rekey_after_s * 13 / 12

    @property
    def rest_after_s(self) -> float:
        """When a session that nobody uses is not sent by any more, though still received by: the
        two ends judge that by clocks of their own."""
        return self.reject_after_s * 17 / 18

    @property
    def spread_s(self) -> float:
        """Pairs that began together renew within this, one after the other."""
        return self.rekey_after_s / 24


DEFAULT_KEY_LIFE = KeyLife()

"""A data session: one set of UDP keys between two peers, and the sealing of datagrams with them.

The 16-byte outer header is the nonce (its last ``nonce_bytes``) and the associated data, so type,
flags and index are bound too, and a nonce repeats only if a counter does. Counters start at 0 under
a fresh key and only ever rise; keys are never stored, so a restart cannot repeat one. A session
that is `spent`, by age or by count, is neither sent nor received by; it is renewed long before.

Between two trusted subnets frames may travel in clear (wire.md section 5.7), with a counter and a
window of their own: a forged one must not be able to shut out what is sealed.
"""

from __future__ import annotations

from attrs import Factory, define, field

from meshnet.errors import AuthenticationError
from meshnet.ids import Endpoint, PeerName, Remote
from meshnet.wire.ciphers import Cipher
from meshnet.wire.datagram import HEADER, HEADER_BYTES, DatagramType
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife
from meshnet.wire.replay import ReplayWindow


@define(eq=False, repr=False)
class Session:
    """Keys in both directions. ``confirmed``: the other end has shown that it holds them too."""

    peer: PeerName
    our_index: int
    their_index: int
    cipher: Cipher
    send_key: bytes
    receive_key: bytes
    remote: Remote
    created_at: float
    confirmed: bool = False
    send_counter: int = 0
    last_received_at: float = 0.0
    unanswered_since: float = -1.0
    """When something was sent that wants an answer, for the first time since the last was heard."""
    given_up: bool = False
    """Nothing was heard by it for too long. It is still received by, and a datagram is news."""
    window: ReplayWindow = field(factory=ReplayWindow)
    was_used: bool = False
    """Whether a frame or a message ever went by it, either way: not to be renewed for nobody."""
    frame_came: bool = False
    """Whether a frame came since the other end's last probe, which so asks amid what it sends."""
    key_life: KeyLife = DEFAULT_KEY_LIFE
    clear_with: Endpoint | None = None
    """The address with which both ends have agreed to exchange frames in clear."""
    clear_counter: int = 0
    clear_window: ReplayWindow = field(factory=ReplayWindow)
    expires_at: float = field(
        init=False,
        default=Factory(lambda self: self.created_at + self.key_life.reject_after_s, True),
    )

    @property
    def is_clear(self) -> bool:
        """Whether frames are sent in clear. A peer that has moved is not sent any."""
        return self.clear_with is not None and self.clear_with == self.remote

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing was heard since something was sent."""
        return self.unanswered_since > self.last_received_at

    @property
    def cipher_name(self) -> str:
        """What seals frames, for people."""
        return "none" if self.is_clear else self.cipher.name

    def write_clear(self, parts: bytes) -> bytes:
        """A whole datagram that carries ``parts`` for all to read."""
        counter = self.clear_counter
        self.clear_counter = counter + 1
        return HEADER.pack(DatagramType.CLEAR_DATA, 0, 0, self.their_index, counter) + parts

    def spent(self, now: float) -> bool:
        """Whether nothing may be sealed by these keys any more."""
        return now >= self.expires_at or self.send_counter >= self.cipher.max_datagrams

    @property
    def half_spent(self) -> bool:
        """Whether so much was sealed that the keys should be renewed whatever their age."""
        return self.send_counter >= self.cipher.max_datagrams // 2

    def seal(self, payload: bytes) -> bytes:
        """A whole datagram that carries ``payload`` (parts of `meshnet.wire.datagram`)."""
        counter = self.send_counter
        self.send_counter = counter + 1
        header = HEADER.pack(DatagramType.DATA, 0, 0, self.their_index, counter)
        cipher = self.cipher
        return header + cipher.seal(self.send_key, header[-cipher.nonce_bytes :], header, payload)

    def open(self, datagram: bytes) -> bytes:
        """The payload. Raises AuthenticationError; `fresh` decides about replays after that."""
        if len(datagram) < HEADER_BYTES + self.cipher.tag_bytes:
            raise AuthenticationError("shorter than header and tag")
        header = datagram[:HEADER_BYTES]
        cipher = self.cipher
        return cipher.open(
            self.receive_key, header[-cipher.nonce_bytes :], header, datagram[HEADER_BYTES:]
        )

    def fresh(self, counter: int) -> bool:
        """True once per counter of an authenticated datagram: the replay check."""
        return self.window.accept(counter)

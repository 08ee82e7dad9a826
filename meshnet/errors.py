"""Everything that can go wrong, by name: the exception tree, close codes, drop reasons.

Two policies, one per transport (design: layers and contracts):

* A link (TCP) that receives malformed input ends with `RemoteProtocolError`, and only that link.
* Nothing inside a UDP datagram may raise: anyone can send us UDP. It is dropped and counted
  under a `DropReason`.
"""

from __future__ import annotations

import enum


class MeshError(Exception):
    """Root of every error meshnet raises on purpose; anything else that escapes is our bug."""


class ConfigError(MeshError):
    """A setting is unusable. The text is one line that says what to change."""

    def __init__(self, text: str) -> None:
        # What was given stands in it, and a file or a variable may give line breaks.
        super().__init__(text.replace("\n", "\\n").replace("\r", "\\r"))


class LocalProtocolError(MeshError):
    """Our caller broke a contract (used a closed link, sent too long a record)."""


class RemoteProtocolError(MeshError):
    """The other end broke the protocol; ends one link. Carries the close code to answer with."""

    def __init__(self, reason: str, code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.code = CloseCode.PROTOCOL_ERROR if code is None else code


class AuthenticationError(MeshError):
    """A tag, signature or key exchange did not verify. State has not advanced."""


class StateError(MeshError):
    """The state directory cannot be read, written or locked."""


class TapError(MeshError):
    """The TAP device, its bridge or its addresses cannot be set up. The text says what to do."""


class ListenError(MeshError):
    """The listening address cannot be had (in use, not local, no permission)."""


class DeliveryError(MeshError):
    """A message to another peer was not delivered in time, or nobody reads it. The text says."""


class ApiError(MeshError):
    """A node could not be reached over its local API, or refused the request."""


class CloseCode(enum.IntEnum):
    """Why a link was closed, as told to the other end (wire.md section 3.3).

    Sent in clear before the keys are agreed and then labelled unauthenticated; sealed after.
    """

    OTHER_NETWORK = 1
    OTHER_VERSION = 2
    WRONG_PASSWORD = 3
    BAD_IDENTITY = 4
    SELF = 5
    SAME_IDENTITY = 6
    DUPLICATE_LINK = 7
    PROTOCOL_ERROR = 8
    TIMEOUT = 9
    SHUTDOWN = 10
    TOO_MANY_LINKS = 11
    UNNEEDED_LINK = 12

    @property
    def text(self) -> str:
        """One line for people: what happened."""
        return _CLOSE_TEXTS[self]


_CLOSE_TEXTS = {
    CloseCode.OTHER_NETWORK: "other network (compare --network on both ends)",
    CloseCode.OTHER_VERSION: "other version (no common protocol version; upgrade the older end)",
    CloseCode.WRONG_PASSWORD: "wrong password (compare passwords and key files on both ends)",
    CloseCode.BAD_IDENTITY: "bad identity (the claimed key does not fit the handshake)",
    CloseCode.SELF: "own address (this target is the peer itself)",
    CloseCode.SAME_IDENTITY: "same identity on two hosts (was the state directory copied?)",
    CloseCode.DUPLICATE_LINK: "duplicate link (the pair already has one)",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.TIMEOUT: "timeout (nothing heard in time)",
    CloseCode.SHUTDOWN: "peer is shutting down",
    CloseCode.TOO_MANY_LINKS: "too many links (--conn-limit of the end that refused is reached)",
    CloseCode.UNNEEDED_LINK: "link not needed (neither end wants it; see --degree)",
}


class DropReason(enum.Enum):
    """Why a datagram, frame, connection or record's content was dropped; each is a counter.

    The values are the names shown in `meshnet report` and, later, in metrics.
    """

    # Datagrams from the underlay.
    TRUNCATED = "truncated"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_SESSION = "unknown_session"
    BAD_TAG = "bad_tag"
    REPLAYED = "replayed"
    UNTRUSTED = "untrusted"
    EXPIRED_KEY = "expired_key"
    MALFORMED_PART = "malformed_part"
    BAD_MAC = "bad_mac"
    COOKIE_REQUIRED = "cookie_required"
    HANDSHAKE_RATE = "handshake_rate"
    BAD_HANDSHAKE = "bad_handshake"
    UNKNOWN_PEER = "unknown_peer"
    OLD_STAMP = "old_stamp"
    # Frames.
    RUNT_FRAME = "runt_frame"
    OVERSIZED_FRAME = "oversized_frame"
    BAD_SOURCE = "bad_source"
    NO_SESSION = "no_session"
    STORM = "storm"
    HOLD_LIMIT = "hold_limit"
    # Relaying.
    NO_ROUTE = "no_route"
    HOP_LIMIT = "hop_limit"
    RELAY_RATE = "relay_rate"
    # Broadcasts of peers with whom we need not have a session.
    NO_SENDER_KEY = "no_sender_key"
    BAD_SENDER_KEY = "bad_sender_key"
    KEY_RATE = "key_rate"
    # Links.
    LINK_LIMIT = "link_limit"
    # The driver.
    UNDERLAY_SEND_FAILED = "underlay_send_failed"
    TAP_WRITE_FAILED = "tap_write_failed"
    # Content of channels, attributed to its writer, never to the link that carried it.
    BAD_FRAGMENT = "bad_fragment"
    BAD_ENTRY = "bad_entry"
    STATE_FULL = "state_full"
    NOT_GONE = "not_gone"

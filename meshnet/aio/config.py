"""What a `Mesh` is told: values only, checked when made, with one line per mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, TypeVar, cast

from attrs import Attribute, define, field, validators

from meshnet.discovery.neighbours import DEFAULT_DEGREE, MIN_DEGREE
from meshnet.errors import ConfigError
from meshnet.ids import Endpoint, split_host_port
from meshnet.peering.absences import DEFAULT_PEER_LEASE_S
from meshnet.peering.linking import DEFAULT_CONN_LIMIT
from meshnet.peering.trusted import Subnet, parse_subnet
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU, MAX_OVERLAY_MTU, MIN_OVERLAY_MTU
from meshnet.topology.records import MAX_ENDPOINTS, MAX_NICKNAME_BYTES, is_dialable
from meshnet.wire.ciphers import CipherId
from meshnet.wire.cursor import pack_text
from meshnet.wire.identity import PSK_BYTES
from meshnet.wire.key_life import REKEY_AFTER_S

DEFAULT_PORT = 6783
MAX_NETWORK_BYTES = 64
# Our choice. Each costs 0.1 to 0.3 s at a start, and a try with each handshake that fits none.
MAX_SECRETS = 8
# Our choice: leases are looked at every half minute.
MIN_PEER_LEASE_S = 60.0

T = TypeVar("T")


def _listed(values: Iterable[T]) -> tuple[T, ...]:
    """As what cannot change later; what is no list is left to the validator."""
    alone = isinstance(values, str | bytes) or not isinstance(values, Iterable)
    return cast("tuple[T, ...]", values) if alone else tuple(values)


# Of a type each: mypy reads off these what the class takes.
def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return _listed(values)


def _secrets(values: Iterable[str | bytes]) -> tuple[str | bytes, ...]:
    return _listed(values)


def _is(said: str, *kinds: type) -> Callable[[object, Attribute[Any], object], None]:
    """A validator: a value of one of these types and, where bool is not one, no bool."""

    def check(_config: object, setting: Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{setting.name} {_shown(setting, value)}: give {said}")

    return check


def _are(said: str, *kinds: type) -> Callable[[object, Attribute[Any], object], None]:
    """A validator: a list of such values, not one alone."""

    def check(_config: object, setting: Attribute[Any], values: object) -> None:
        if not isinstance(values, tuple | list):
            shown = _shown(setting, values)
            raise ConfigError(f"{setting.name} {shown}: give a list of {said}, not one alone")
        for value in values:
            if not isinstance(value, kinds):
                shown = _shown(setting, value)
                raise ConfigError(f"{setting.name} holds {shown}: give a list of {said}")

    return check


def _shown(setting: Attribute[Any], value: object) -> str:
    """What was given or, of a secret, its type alone."""
    return repr(value) if setting.repr else f"of type {type(value).__name__}"


_TEXT = _is("a text", str)
_WHOLE = _is("a whole number", int)
_ADDRESSES = _are("addresses, each a text", str)


@define(frozen=True, kw_only=True)
class MeshConfig:
    """One peer's settings. Raises ConfigError, with one line that says what to change.

    ``listen``: ``[HOST]:PORT`` for TCP and UDP, port 0 for any; without a host, every address of
    both families, or of IPv4 where IPv6 is off. ``advertise``: addresses others shall dial; by
    default the one listened on, if it is a specific one. ``password`` and ``psk`` (32 bytes)
    exclude each other; without either the network is open: sealed, but anyone may join.
    ``also_accept``: further passwords (text) and psks (bytes) that others may offer. ``mtu`` is
    the overlay's, in bytes, the same on every peer. ``conn_limit``: links to that many peers at
    most; others are reached through them. ``degree``: in a mesh of more peers, links are closed
    that neither end needs while there are more than so many. ``ciphers``: in order of preference;
    by default measured. ``rekey_after_s``: the age at which keys are renewed, in seconds, at most
    the default; at one and a half times that they are refused. ``peer_lease_s``: a peer that is
    gone for so long is forgotten, by the whole mesh; None: never. ``trusted_subnets`` (CIDR):
    frames to and from peers in these are **not encrypted**, where the other end trusts our address
    likewise.
    """

    nickname: str = field(default="", validator=_TEXT)
    network: str = field(default="meshnet", validator=_TEXT)
    listen: str = field(default=f":{DEFAULT_PORT}", validator=_is("a text such as ':6783'", str))
    advertise: tuple[str, ...] = field(default=(), converter=_texts, validator=_ADDRESSES)
    peers: tuple[str, ...] = field(default=(), converter=_texts, validator=_ADDRESSES)
    password: str | None = field(
        default=None, repr=False, validator=_is("a text, or None", str, NoneType)
    )
    psk: bytes | None = field(
        default=None, repr=False, validator=_is("bytes, or None", bytes, NoneType)
    )
    also_accept: tuple[str | bytes, ...] = field(
        default=(),
        converter=_secrets,
        repr=False,
        validator=_are("passwords (text) and psks (bytes)", str, bytes),
    )
    mtu: int = field(default=DEFAULT_OVERLAY_MTU, validator=_WHOLE)
    discovery: bool = field(default=True, validator=_is("True or False", bool))
    conn_limit: int = field(default=DEFAULT_CONN_LIMIT, validator=_WHOLE)
    degree: int = field(default=DEFAULT_DEGREE, validator=_WHOLE)
    ciphers: tuple[CipherId, ...] | None = field(
        default=None,
        validator=validators.optional(_are("members of CipherId", CipherId)),
    )
    rekey_after_s: float = field(default=REKEY_AFTER_S, validator=_is("a number", int, float))
    peer_lease_s: float | None = field(
        default=DEFAULT_PEER_LEASE_S, validator=_is("a number, or None", int, float, NoneType)
    )
    trusted_subnets: tuple[str, ...] = field(default=(), converter=_texts, validator=_ADDRESSES)

    def __attrs_post_init__(self) -> None:
        secrets = [secret for secret in self.secrets if secret is not None]
        passwords = [secret for secret in secrets if isinstance(secret, str)]
        texts = [(repr(text), text) for text in (self.nickname, self.network, self.listen)]
        # Named, not shown: what is said here ends up in logs.
        for shown, text in (*texts, *(("a password", password) for password in passwords)):
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ConfigError(f"{shown} is not UTF-8 text") from None
        try:
            pack_text(self.nickname, MAX_NICKNAME_BYTES)
        except ValueError as error:
            raise ConfigError(f"nickname {error}") from None
        if not self.network or len(self.network.encode()) > MAX_NETWORK_BYTES:
            raise ConfigError(f"network {self.network!r}: use 1 to {MAX_NETWORK_BYTES} bytes")
        if self.password is not None and self.psk is not None:
            raise ConfigError("give a password or a psk, not both")
        if "" in passwords:
            raise ConfigError("the password is empty; leave it out for an open network")
        for secret in secrets:
            if isinstance(secret, bytes) and len(secret) != PSK_BYTES:
                raise ConfigError(f"a psk has {PSK_BYTES} bytes, this one has {len(secret)}")
        if len(secrets) > MAX_SECRETS:
            raise ConfigError(f"at most {MAX_SECRETS} passwords and keys can be accepted at once")
        if not MIN_OVERLAY_MTU <= self.mtu <= MAX_OVERLAY_MTU:
            raise ConfigError(f"mtu {self.mtu}: use {MIN_OVERLAY_MTU} to {MAX_OVERLAY_MTU}")
        if self.conn_limit < 1:
            raise ConfigError(f"conn-limit {self.conn_limit}: use 1 or more")
        if self.degree < MIN_DEGREE:
            raise ConfigError(f"degree {self.degree}: use {MIN_DEGREE} or more")
        if self.ciphers is not None and not self.ciphers:
            raise ConfigError("the list of ciphers is empty")
        if not 0 < self.rekey_after_s <= REKEY_AFTER_S:
            limit = f"more than 0 and at most {REKEY_AFTER_S:.0f} s"
            raise ConfigError(f"rekey_after_s {self.rekey_after_s}: use {limit}")
        if self.peer_lease_s is not None and not self.peer_lease_s >= MIN_PEER_LEASE_S:
            limit = f"{MIN_PEER_LEASE_S:.0f} s or more, or never"
            raise ConfigError(f"peer-lease {self.peer_lease_s}: use {limit}")
        if len(self.advertise) > MAX_ENDPOINTS:
            raise ConfigError(f"at most {MAX_ENDPOINTS} addresses can be advertised")
        self.listen_address()
        self.subnets()
        for peer in self.peers:
            parse_peer(peer)
        for address in self.advertise:
            parse_advertise(address, DEFAULT_PORT)

    @property
    def secrets(self) -> tuple[str | bytes | None, ...]:
        """Passwords and psks, the offered one first; None is that of an open network."""
        offered = self.psk if self.psk is not None else self.password
        return tuple(dict.fromkeys((offered, *self.also_accept)))

    @property
    def is_open(self) -> bool:
        """True when anyone who can reach us may join."""
        return self.password is None and self.psk is None

    def subnets(self) -> tuple[Subnet, ...]:
        """The trusted subnets."""
        return tuple(_subnet(text) for text in self.trusted_subnets)

    def listen_address(self) -> tuple[str, int]:
        """(host, port); an empty host is every address."""
        try:
            return split_host_port(self.listen, DEFAULT_PORT)
        except ValueError as error:
            raise ConfigError(f"listen address {error}") from None


def _subnet(text: str) -> Subnet:
    try:
        return parse_subnet(text)
    except ValueError as error:
        raise ConfigError(
            f"trusted subnet {text}: {error}; write CIDR such as 10.1.0.0/16"
        ) from None


def parse_peer(text: str) -> tuple[str, int]:
    """(host, port) of an address to dial. Raises ConfigError."""
    if not isinstance(text, str):
        raise ConfigError(f"peer {text!r}: write HOST or HOST:PORT, as a text")
    try:
        host, port = split_host_port(text, DEFAULT_PORT)
    except ValueError as error:
        raise ConfigError(f"peer {error}") from None
    if not host or port == 0:
        raise ConfigError(f"peer {text!r}: write HOST or HOST:PORT")
    return host, port


def parse_advertise(text: str, default_port: int) -> Endpoint:
    """An address others shall dial. Raises ConfigError."""
    try:
        endpoint = Endpoint.of(*split_host_port(text, default_port))
        if not is_dialable(endpoint):
            raise ValueError("nobody can dial that")
        return endpoint
    except ValueError as error:
        raise ConfigError(f"advertised address {text!r}: {error}; write IP or IP:PORT") from None

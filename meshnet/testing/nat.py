"""A NAT between some hosts and all others, in the words of RFC 4787. Sans-IO, as the emulator is.

What leaves gets an address of the NAT's; what comes back to that one is let in or not. Mappings
expire when nothing leaves by them any more, and all of them are forgotten by `rebind`, as when the
router restarts or its provider gives it another address.
"""

from __future__ import annotations

import enum

from attrs import define

from meshnet.ids import Endpoint
from meshnet.testing.emulator import Transport

_FIRST_PORT = 20_000


class NatRule(enum.Enum):
    """What a mapping, or a filter, goes by besides the address inside."""

    ENDPOINT_INDEPENDENT = "endpoint independent"
    """Nothing: one mapping for all destinations; anybody may answer. The kindest."""
    ADDRESS_DEPENDENT = "address dependent"
    """The other end's host."""
    ADDRESS_AND_PORT_DEPENDENT = "address and port dependent"
    """Host and port. A NAT that maps so is called symmetric."""

    def of(self, other: Endpoint) -> tuple[str | int, ...]:
        """What of ``other`` it goes by."""
        if self is NatRule.ENDPOINT_INDEPENDENT:
            return ()
        return (other.host,) if self is NatRule.ADDRESS_DEPENDENT else (other.host, other.port)


@define(eq=False)
class _Mapping:
    inside: Endpoint
    last_used_at: float
    permitted: set[tuple[str | int, ...]]


@define(eq=False, slots=False)
class Nat:
    """One device with the outer address ``host``. ``expires_s``: None never forgets datagrams' way.

    Connections have no timeout, as theirs are hours; they end with `rebind`.
    """

    host: str
    mapping: NatRule = NatRule.ENDPOINT_INDEPENDENT
    filtering: NatRule = NatRule.ADDRESS_AND_PORT_DEPENDENT
    expires_s: float | None = 30.0

    def __attrs_post_init__(self) -> None:
        self.times_rebound = 0
        self._next_port = _FIRST_PORT
        self._by_port: dict[tuple[Transport, int], _Mapping] = {}
        self._ports: dict[tuple[Transport, Endpoint, tuple[str | int, ...]], int] = {}

    def outbound(
        self, inside: Endpoint, to: Endpoint, now: float, transport: Transport = Transport.UDP
    ) -> Endpoint:
        """The address that ``to`` sees of what ``inside`` sends."""
        key = (transport, inside, self.mapping.of(to))
        port = self._ports.get(key)
        mapping = self._by_port.get((transport, port)) if port is not None else None
        if port is None or mapping is None or self._has_expired(mapping, transport, now):
            port, self._next_port = self._next_port, self._next_port + 1
            self._ports[key] = port
            mapping = self._by_port[transport, port] = _Mapping(inside, now, set())
        mapping.last_used_at = now
        mapping.permitted.add(self.filtering.of(to))
        return Endpoint(self.host, port)

    def inbound(
        self, outside: Endpoint, source: Endpoint, now: float, transport: Transport = Transport.UDP
    ) -> Endpoint | None:
        """Where what ``source`` sends to ``outside`` ends up; None when it is not let in."""
        mapping = self._by_port.get((transport, outside.port))
        if outside.host != self.host or mapping is None:
            return None
        if self._has_expired(mapping, transport, now):
            return None
        return mapping.inside if self.filtering.of(source) in mapping.permitted else None

    def rebind(self, host: str | None = None) -> None:
        """Forget everything; what leaves from now on gets other ports, and another ``host``."""
        self.host = host if host is not None else self.host
        self.times_rebound += 1
        self._by_port.clear()
        self._ports.clear()

    def _has_expired(self, mapping: _Mapping, transport: Transport, now: float) -> bool:
        if self.expires_s is None or transport is Transport.TCP:
            return False
        return now - mapping.last_used_at > self.expires_s

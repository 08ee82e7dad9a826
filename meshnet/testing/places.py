"""Who is where on the emulated network: addresses, and the NATs before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnet.ids import Endpoint
from meshnet.testing.clock import Clock
from meshnet.testing.emulator import Transport
from meshnet.testing.nat import Nat

if TYPE_CHECKING:
    from meshnet.testing.host import Host


class Places:
    """All hosts by their addresses. Hosts behind one NAT see each other's, nobody else does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[Endpoint, Host] = {}
        self._nats: dict[Host, Nat] = {}

    def put(self, host: Host) -> None:
        self._at[host.address] = host

    def move(self, host: Host, to: Endpoint) -> None:
        del self._at[host.address]
        host.address = to
        self._at[to] = host

    def put_behind(self, host: Host, nat: Nat | None) -> None:
        """From now on ``host`` is behind ``nat``, or behind none."""
        if nat is None:
            self._nats.pop(host, None)
        else:
            self._nats[host] = nat

    def nat_of(self, host: Host) -> Nat | None:
        return self._nats.get(host)

    def leave(self, host: Host, to: Endpoint, transport: Transport) -> Endpoint:
        """What ``to`` sees as the source of what ``host`` sends it; a NAT takes note."""
        nat = self._nats.get(host)
        inside = self._at.get(to)
        if nat is None or (inside is not None and self._nats.get(inside) is nat):
            return host.address
        return nat.outbound(host.address, to, self._clock.now, transport)

    def find(self, host: Host, to: Endpoint, source: Endpoint, transport: Transport) -> Host | None:
        """Who gets what ``host`` sends to ``to``, where it is seen as ``source``."""
        if to in host.private:
            return host
        target, nat = self._at.get(to), self._nats.get(host)
        if target is not None:
            hidden = self._nats.get(target)
            return target if hidden is None or hidden is nat else None
        for other in self._outer_nats(to):
            inside = other.inbound(to, source, self._clock.now, transport)
            return self._at.get(inside) if inside is not None else None
        return None

    def says_no(self, to: Endpoint) -> bool:
        """Whether somebody there says that nobody listens; a NAT says nothing."""
        target = self._at.get(to)
        return not self._outer_nats(to) and (target is None or target not in self._nats)

    def _outer_nats(self, to: Endpoint) -> list[Nat]:
        return [nat for nat in self._nats.values() if nat.host == to.host]

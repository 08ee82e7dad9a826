"""Any text is an address in canonical form, or ValueError or ConfigError with one line.

The first byte chooses what it is read as, and whether a port may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan
from meshnet.aio.config import parse_advertise, parse_peer
from meshnet.errors import ConfigError
from meshnet.ids import Endpoint, PeerName, join_host_port, split_host_port
from meshnet.peering.trusted import TrustedSubnets, parse_subnet
from meshnet.topology.records import is_dialable

COVERS = (
    "meshnet.ids:split_host_port",
    "meshnet.ids:Endpoint.of",
    "meshnet.ids:PeerName.parse",
    "meshnet.aio.config:parse_peer",
    "meshnet.aio.config:parse_advertise",
    "meshnet.peering.trusted",
)

_PORTS = (None, 6783)


def check(data: bytes) -> None:
    plan = Plan(data)
    kind, text = plan.number() % 6, plan.rest().decode(errors="surrogateescape")
    try:
        _READERS[kind](text)
    except (ValueError, ConfigError) as error:
        assert str(error)
        assert "\n" not in str(error), "not one line"


def _host_port(text: str, default_port: int | None = None) -> None:
    host, port = split_host_port(text, default_port)
    assert 0 <= port < 65536
    assert host in text
    assert split_host_port(join_host_port(host, port), None) == (host, port)


def _host(text: str) -> None:
    _host_port(text, 6783)


def _peer(text: str) -> None:
    host, port = parse_peer(text)
    assert host
    assert 0 < port < 65536


def _advertise(text: str) -> None:
    endpoint = parse_advertise(text, 6783)
    assert is_dialable(endpoint)
    assert Endpoint.of(*endpoint) == endpoint


def _name(text: str) -> None:
    assert str(PeerName.parse(text)) == text.lower()


def _subnet(text: str) -> None:
    subnet = parse_subnet(text)
    inside = Endpoint.of(str(subnet.network_address), 1)
    # An IPv4 address in IPv6 clothes is judged as what it is.
    assert (inside in TrustedSubnets([subnet])) == (inside.is_ipv6 == (subnet.version == 6))
    assert PeerName(bytes(16)) not in TrustedSubnets([subnet])
    assert inside not in TrustedSubnets()


_READERS = (_host_port, _host, _peer, _advertise, _name, _subnet)


def seeds() -> Iterator[bytes]:
    texts = (
        *("", ":", ":6783", "host", "host:1", "host:", "host:0", "host:65536", "host:x", "a:b:c"),
        *("[::1]", "[::1]:1", "[::1]x", "[::1", "[]:1", "::1", "fe80::1%eth0", "[fe80::1%a]:1"),
        *("10.0.0.1", "10.0.0.1:1", "224.0.0.1", "0.0.0.0", "::ffff:10.0.0.1", "ff02::1", "::"),
        *("10.0.0.0/8", "10.0.0.1/8", "fd00::/8", "::ffff:0:0/96", "10.0.0.0", "10.0.0.0/33"),
        *(
            "00" * 16,
            "0F" * 16,
            "zz" * 16,
            " 0" * 16,
            "Zürich",
            "a\nb",
            "x" * 64,
            "host:1\n",
            "\ud800",
        ),
        *("host:" + "9" * 5000, "host:\u0663"),
        *(
            "a b",
            "-x",
            "300.1.1.1",
            "http://foo",
            "::1:6783",
            "fd00::2:1",
            "a_b.example.",
            "x" * 254,
        ),
    )
    for text in texts:
        for kind in range(len(_READERS)):
            yield bytes((kind,)) + text.encode(errors="surrogatepass")

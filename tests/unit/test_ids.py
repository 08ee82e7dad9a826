"""Names, endpoints, MAC addresses: what they accept and how they print."""

from __future__ import annotations

import hashlib

import pytest

from meshnet.ids import (
    Endpoint,
    PeerName,
    format_mac,
    join_host_port,
    mac_of,
    network_id,
    split_host_port,
)
from support.samples import ALICE, BOB

HEX = "00112233445566778899aabbccddeeff"


def test_a_name_is_the_hash_of_its_key() -> None:
    assert ALICE.name == hashlib.blake2b(ALICE.public_key, digest_size=16).digest()
    assert PeerName.of(ALICE.public_key) == ALICE.name
    assert ALICE.name != BOB.name


def test_a_name_prints_as_it_parses() -> None:
    name = PeerName.parse(HEX)
    assert str(name) == HEX
    assert repr(name) == f"PeerName({HEX})"
    assert name.short == "00112233"
    assert PeerName.parse(str(ALICE.name)) == ALICE.name


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_name_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        PeerName(bytes(size))


@pytest.mark.parametrize(
    "text",
    ["", HEX[:-1], HEX + "0", "x" * 32, " ".join(HEX[at : at + 2] for at in range(0, 32, 2))],
)
def test_only_32_hex_digits_are_a_name(text: str) -> None:
    with pytest.raises(ValueError):
        PeerName.parse(text)


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_an_endpoint_has_one_spelling(given: str, canonical: str) -> None:
    assert Endpoint.of(given, 1) == Endpoint(canonical, 1)


@pytest.mark.parametrize(
    ("host", "port"),
    [("example.org", 1), ("", 1), ("10.0.0.256", 1), ("10.0.0.1", 0), ("::1", 65536), ("::1", -1)],
)
def test_an_endpoint_is_an_ip_address_and_a_port(host: str, port: int) -> None:
    with pytest.raises(ValueError):
        Endpoint.of(host, port)


def test_an_endpoint_prints_with_brackets_where_needed() -> None:
    four, six = Endpoint("10.0.0.1", 80), Endpoint("::1", 80)
    assert (str(four), str(six)) == ("10.0.0.1:80", "[::1]:80")
    assert (four.is_ipv6, six.is_ipv6) == (False, True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host:1", ("host", 1)),
        ("host", ("host", 99)),
        (":1", ("", 1)),
        ("", ("", 99)),
        ("[::1]:1", ("::1", 1)),
        ("[::1]", ("::1", 99)),
        ("::1", ("::1", 99)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_host_and_port_are_split(text: str, parts: tuple[str, int]) -> None:
    assert split_host_port(text, 99) == parts


@pytest.mark.parametrize(
    "text",
    [
        "h:",
        "[::1]:",
        "[::1",
        "[::1]1",
        "h:x",
        "h:65536",
        "h:-1",
        "h:+1",
        "h: 1",
        "h:\u0661",
        "h:1_0",
        "h:" + "9" * 5000,
    ],
)
def test_what_is_no_port_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_host_port(text, 99)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *("a", "A-1.example.org", "example.org.", "db_1", "_meshnet._tcp.example", "1a", "4.a"),
        *("x" * 63, ".".join(["x" * 63] * 3 + ["x" * 61]), "Zürich.example", "0.0.0.0"),
    ],
)
def test_host_names_and_ipv4_addresses_are_hosts(host: str) -> None:
    assert split_host_port(host, 7) == (host, 7)
    assert split_host_port(f"{host}:1", 7) == (host, 1)


@pytest.mark.parametrize(
    "text", ["fe80::1%eth0", "2001:db8:1:2:3:4:5:6", "::a:678f", "::", "::9999"]
)
def test_an_ipv6_address_that_can_be_read_in_one_way_needs_no_brackets(text: str) -> None:
    assert split_host_port(text, 7) == (text, 7)
    assert split_host_port(f"[{text}]:1", 7) == (text, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, "is not a host name") for text in ("a b", " a", "a\n", "-x", "a-", "a..b", ".a")),
        *(
            (text, "is not a host name")
            for text in ("x" * 64, "a." * 127, "a@b", "a*", "[", "é" * 70)
        ),
        *((text, "is no IPv4 address") for text in ("300.1.1.1", "10.0.0", "127.1", "6783", "a.1")),
        *((text, "not a URL") for text in ("http://foo", "tcp://foo:1", "foo/", "10.0.0.0/8")),
        *((text, "[ADDR]:PORT") for text in ("a:b:c", "[a]:1", "[]:1", "[10.0.0.1]:1", "1::2::3")),
        *((text, "[ADDR]:PORT") for text in ("2001:db8:1:2:3:4:5:6:6783", "fe80::1%a b", "::1%]")),
        ("::1:6783", "write [::1:6783] or [::1]:6783"),
        ("fd00::2:1", "write [fd00::2:1] or [fd00::2]:1"),
    ],
)
def test_what_is_no_host_is_refused_with_what_to_write(text: str, said: str) -> None:
    for whole in (text, text if ":" in text else f"{text}:1"):
        with pytest.raises(ValueError) as caught:
            split_host_port(whole, 99)
        assert repr(whole) in str(caught.value)
        assert said in str(caught.value) or text == "["
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["host", "::1", "[::1]", ""])
def test_a_port_may_be_demanded(text: str) -> None:
    with pytest.raises(ValueError, match="a port is missing"):
        split_host_port(text, None)


def test_joining_is_the_reverse_of_splitting() -> None:
    for host in ("10.0.0.1", "::1", "example.org"):
        assert split_host_port(join_host_port(host, 7), None) == (host, 7)


def test_a_network_id_is_frozen() -> None:
    # Peers of all versions must agree on it: a change here is another network for everybody.
    assert network_id("meshnet").hex() == "fd4d970332a0f7fd"
    assert network_id("meshnet") != network_id("Meshnet")


def test_the_mac_of_a_peer_is_its_own_for_ever() -> None:
    mac = mac_of(PeerName.parse(HEX))
    assert format_mac(mac) == "1a:56:0c:1a:44:9c"
    assert mac[0] & 0x03 == 0x02, "locally administered, unicast"
    assert mac_of(ALICE.name) != mac_of(BOB.name)

"""docs/wire.md says what the code does: ruler, numbers on the wire, limits, worked examples."""

from __future__ import annotations

import enum
import importlib
import re
from pathlib import Path

import pytest

from meshnet.errors import CloseCode, DropReason
from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.messages import Want, pack_delta, pack_nodes, pack_want
from meshnet.gossip.removals import pack_removal, sign_removal
from meshnet.gossip.tree import EMPTY, Leaf, Node, Tree, spot_of
from meshnet.ids import Endpoint, PeerName, network_id
from meshnet.switch.ethernet import (
    DEFAULT_OVERLAY_MTU,
    MAX_OVERLAY_MTU,
    MIN_OVERLAY_MTU,
    VLAN_TAG_BYTES,
    max_frame_bytes,
)
from meshnet.switch.ethernet import HEADER_BYTES as ETHERNET_HEADER_BYTES
from meshnet.topology.records import TOPOLOGY, Description, record_entries
from meshnet.topology.routes import MAX_HOPS
from meshnet.wire.ciphers import CIPHERS, DEFAULT_PREFERENCE, Cipher, CipherId
from meshnet.wire.cookies import with_proof, write_cookie_reply
from meshnet.wire.crypto import XCHACHA_NONCE_BYTES
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    COOKIE_BYTES,
    HEADER_BYTES,
    PART_HEADER_BYTES,
    PROBE_BYTES,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
)
from meshnet.wire.handshake import initiate, read_initiation
from meshnet.wire.identity import Identity, psk_of_open_network, psk_of_password
from meshnet.wire.link import HEADER_BYTES as LINK_FRAME_HEADER_BYTES
from meshnet.wire.link import HELLO_BYTES, FrameKind, LinkConfig, LinkProtocol
from meshnet.wire.messages import MessageType
from meshnet.wire.sender_key import SenderKey, pack_sender_key, sign_key
from meshnet.wire.session import Session
from support.samples import rng

WIRE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")

# The underlay's headers: RFC 791 section 3.1, RFC 8200 section 3, RFC 768.
IP_HEADER_BYTES = {"IPv4": 20, "IPv6": 40}
UDP_HEADER_BYTES = 8
USUAL_UNDERLAY_MTU = 1500

EXAMPLE = Identity.of_seed(bytes(range(32)))
NETWORK = "meshnet"
REMOTE = Endpoint.of("192.0.2.1", 6783)

Row = dict[str, str]


def section(number: str) -> str:
    """What stands under the heading of this number, without sub-sections."""
    found = re.search(rf"^##+ {re.escape(number)} .*?\n(.*?)(?=^##+ |\Z)", WIRE, re.M | re.S)
    assert found is not None, f"docs/wire.md has no section {number}"
    return found[1]


def tables(text: str) -> list[list[Row]]:
    found: list[list[Row]] = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        heads, _, *rows = [
            [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
            for line in block.splitlines()
        ]
        found.append([dict(zip(heads, row, strict=True)) for row in rows])
    return found


def table_with(number: str, *columns: str) -> list[Row]:
    """The one table of a section that has these columns."""
    fitting = [table for table in tables(section(number)) if set(columns) <= table[0].keys()]
    assert len(fitting) == 1, f"section {number}: {len(fitting)} tables with {columns}"
    return fitting[0]


def example(name: str) -> bytes:
    """The bytes of the worked example of this name."""
    found = re.findall(rf"^```hex {re.escape(name)}\n(.*?)^```", WIRE, re.M | re.S)
    assert len(found) == 1, f"docs/wire.md has {len(found)} examples called {name}"
    return bytes.fromhex(found[0])


def session_with(cipher: Cipher) -> Session:
    """As in section 5.4: index 01020304, counter 5, key 00 01 02 ..."""
    key = bytes(range(cipher.key_bytes))
    return Session(
        EXAMPLE.name, 1, 0x01020304, cipher, key, key, REMOTE, created_at=0.0, send_counter=5
    )


def sender_key_with(cipher: Cipher) -> SenderKey:
    """As in section 5.9: life 7, key id 01020304, key 00 01 02 ..."""
    key, network = bytes(range(32)), network_id(NETWORK)
    signed = sign_key(EXAMPLE, network, life=7, key_id=0x01020304, cipher=cipher.id, key=key)
    return SenderKey(signed, made_at=0.0, expires_at=1.0)


def underlay_packet_bytes(cipher: Cipher, family: str, overlay_mtu: int, *, vlan: bool) -> int:
    """The IP packet that carries one full frame, measured on a datagram that was really sealed."""
    frame = bytes(max_frame_bytes(overlay_mtu) - (0 if vlan else VLAN_TAG_BYTES))
    datagram = session_with(cipher).seal(pack_part(PartType.FRAME, frame))
    return IP_HEADER_BYTES[family] + UDP_HEADER_BYTES + len(datagram)


def cipher_called(name: str) -> Cipher:
    return next(cipher for cipher in CIPHERS.values() if cipher.name == name)


def every_way() -> list[tuple[str, str, str]]:
    return [
        (c.name, f, v) for c in CIPHERS.values() for f in IP_HEADER_BYTES for v in ("yes", "no")
    ]


def ways_of(table: list[Row]) -> list[tuple[str, str, str]]:
    return [(row["cipher"], row["underlay"], row["VLAN tag"]) for row in table]


# The ruler.

RULER = table_with("7.1", "sum", "left over: direct")
LARGEST = table_with("7.2", "1280", "9000")


def test_the_ruler_has_a_row_for_every_way() -> None:
    assert sorted(ways_of(RULER)) == sorted(ways_of(LARGEST)) == sorted(every_way())


@pytest.mark.parametrize("row", RULER, ids=map(str, ways_of(RULER)))
def test_each_span_of_the_ruler(row: Row) -> None:
    cipher, vlan = cipher_called(row["cipher"]), row["VLAN tag"] == "yes"
    spans = {
        "IP": IP_HEADER_BYTES[row["underlay"]],
        "UDP": UDP_HEADER_BYTES,
        "outer header": HEADER_BYTES,
        "part header": PART_HEADER_BYTES,
        "Ethernet header": ETHERNET_HEADER_BYTES,
        "802.1Q": VLAN_TAG_BYTES if vlan else 0,
        "overlay MTU": DEFAULT_OVERLAY_MTU,
        "tag": cipher.tag_bytes,
    }
    assert {name: int(row[name]) for name in spans} == spans
    packet_bytes = underlay_packet_bytes(cipher, row["underlay"], DEFAULT_OVERLAY_MTU, vlan=vlan)
    assert sum(spans.values()) == int(row["sum"]) == packet_bytes
    assert int(row["left over: direct"]) == USUAL_UNDERLAY_MTU - packet_bytes
    wrapped = HEADER_BYTES + PART_HEADER_BYTES + RELAY_HEADER.size + cipher.tag_bytes
    relay = int(row["left over: relay"].replace("\N{MINUS SIGN}", "-"))
    assert relay == USUAL_UNDERLAY_MTU - packet_bytes - wrapped
    tree = int(row["left over: tree"].replace("\N{MINUS SIGN}", "-"))
    broadcast = BROADCAST_HEADER.pack(EXAMPLE.name, MAX_HOPS) + sender_key_with(cipher).seal(b"")
    in_its_session = session_with(cipher).seal(pack_part(PartType.BROADCAST, broadcast))
    bare = session_with(cipher).seal(b"")
    assert tree == USUAL_UNDERLAY_MTU - packet_bytes - len(in_its_session) + len(bare)


def test_paths_that_are_not_there_yet_have_no_figures() -> None:
    later = ("left over: VXLAN", "left over: ESP")
    assert {row[name] for row in RULER for name in later} == {"–"}  # noqa: RUF001


@pytest.mark.parametrize("row", LARGEST, ids=map(str, ways_of(LARGEST)))
@pytest.mark.parametrize("underlay_mtu", [1280, 1400, 1500, 9000])
def test_the_largest_overlay_mtu(row: Row, underlay_mtu: int) -> None:
    cipher, vlan = cipher_called(row["cipher"]), row["VLAN tag"] == "yes"
    largest = int(row[str(underlay_mtu)])
    fits = underlay_packet_bytes(cipher, row["underlay"], largest, vlan=vlan)
    assert fits == underlay_mtu


def test_what_section_7_says_of_small_underlays() -> None:
    assert all(int(row["1280"]) < MIN_OVERLAY_MTU for row in LARGEST)
    assert all(int(row["1400"]) < DEFAULT_OVERLAY_MTU for row in LARGEST)
    assert f"{MIN_OVERLAY_MTU} to {MAX_OVERLAY_MTU}" in section("7.2")


def test_a_full_segment_fits_one_datagram_over_ipv6_with_aegis_and_vlan_tag() -> None:
    """The promise that the default overlay MTU was chosen for (design section 5)."""
    assert DEFAULT_OVERLAY_MTU == 1376
    aegis = CIPHERS[CipherId.AEGIS_128L]
    packet_bytes = underlay_packet_bytes(aegis, "IPv6", DEFAULT_OVERLAY_MTU, vlan=True)
    assert packet_bytes <= USUAL_UNDERLAY_MTU


# Numbers on the wire.


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("3.2", FrameKind),
        ("3.3", CloseCode),
        ("3.4", MessageType),
        ("5.1", DatagramType),
        ("5.2", CipherId),
        ("5.4", PartType),
    ],
)
def test_numbers_are_those_of_the_code(number: str, kind: type[enum.IntEnum]) -> None:
    column = "kind" if kind is FrameKind else "number"
    table = table_with(number, column, "name")
    assert [(int(row[column]), row["name"]) for row in table] == [(k.value, k.name) for k in kind]


@pytest.mark.parametrize("cipher", CIPHERS.values(), ids=lambda cipher: cipher.name)
def test_sizes_of_ciphers(cipher: Cipher) -> None:
    (row,) = [r for r in table_with("5.2", "number", "nonce") if r["name"] == cipher.id.name]
    sizes = (int(row["key"]), int(row["nonce"]), int(row["tag"]))
    assert sizes == (cipher.key_bytes, cipher.nonce_bytes, cipher.tag_bytes)
    assert int(row["datagrams of one key"]) == cipher.max_datagrams


def test_every_drop_reason_is_listed() -> None:
    rows = table_with("5.5", "name", "what was dropped")
    assert [row["name"] for row in rows] == [reason.value for reason in DropReason]


LIMITS = [row for table in tables(section("8")) for row in table]


@pytest.mark.parametrize("row", LIMITS, ids=[row["constant"] for row in LIMITS])
def test_limits_are_those_of_the_code(row: Row) -> None:
    module, _, name = row["constant"].rpartition(".")
    value = getattr(importlib.import_module(module), name)
    assert value == type(value)(row["value"])


# The worked examples.


def test_identity_and_keys() -> None:
    assert EXAMPLE.public_key == example("public-key")
    assert EXAMPLE.name == PeerName(example("name"))
    assert EXAMPLE.static.public == example("noise-static")
    assert network_id(NETWORK) == example("network-id")
    assert psk_of_open_network(NETWORK) == example("psk-of-open-network")


def test_psk_of_a_password() -> None:
    assert psk_of_password("correct horse", NETWORK) == example("psk-of-password")


def test_hello_and_first_message_of_a_link() -> None:
    config = LinkConfig(EXAMPLE, network_id(NETWORK), (psk_of_open_network(NETWORK),))
    link = LinkProtocol(config, dialler=True, rng=lambda size: b"\x01" * size)
    hello = link.data_to_send()
    assert hello == example("hello")
    link.receive(hello, 0.0)
    assert link.data_to_send() == example("link-message-1")


def test_sizes_of_the_messages_of_a_link() -> None:
    other = Identity.of_seed(b"\x02" * 32)
    psk = psk_of_open_network(NETWORK)
    dialler, listener = (
        LinkProtocol(
            LinkConfig(identity, network_id(NETWORK), (psk,)),
            dialler=identity is EXAMPLE,
            rng=rng(identity.name),
        )
        for identity in (EXAMPLE, other)
    )
    sent: list[bytes] = []
    for sender, receiver in ((dialler, listener), (listener, dialler)) * 3:
        sent.append(sender.data_to_send())
        receiver.receive(sent[-1], 0.0)
    hellos, messages = sent[:2], sent[2:5]
    assert [len(hello) for hello in hellos] == [HELLO_BYTES] * 2
    bodies = [len(message) - LINK_FRAME_HEADER_BYTES for message in messages]
    assert bodies == [int(row["body"]) for row in table_with("3.2", "message", "body")]


def test_sizes_of_the_datagrams_of_a_handshake() -> None:
    responder = Identity.of_seed(b"\x02" * 32)
    pending = initiate(
        EXAMPLE,
        network_id(NETWORK),
        peer=responder.name,
        their_static=responder.static.public,
        our_index=1,
        stamp=1,
        ciphers=DEFAULT_PREFERENCE,
        capabilities=0,
        ephemeral_secret=b"\x03" * 32,
        remote=REMOTE,
        now=0.0,
    )
    start = example("initiation-start")
    assert pending.datagram[: len(start)] == start
    proved = with_proof(pending.datagram, b"\x0c" * COOKIE_BYTES)
    assert proved[: len(start)] == example("initiation-start-with-proof")
    static, nonce = responder.static.public, b"\x0d" * XCHACHA_NONCE_BYTES
    reply = write_cookie_reply(pending.datagram, b"\x0c" * COOKIE_BYTES, nonce, static)
    assert reply == example("cookie-reply")
    response, _ = read_initiation(
        responder, network_id(NETWORK), pending.datagram, b"\x04" * 32
    ).answer(
        peer=EXAMPLE.name,
        our_index=2,
        preference=DEFAULT_PREFERENCE,
        capabilities=0,
        psk=psk_of_open_network(NETWORK),
        remote=REMOTE,
        now=0.0,
    )
    assert f"With two ciphers it has {len(pending.datagram)} bytes." in section("4")
    assert f"It has {len(response)} bytes:" in section("4")


def test_part_and_data() -> None:
    part = pack_part(PartType.PROBE, (7).to_bytes(PROBE_BYTES, "big"))
    assert part == example("part")
    for cipher in CIPHERS.values():
        assert session_with(cipher).seal(part) == example(f"data-{cipher.name.lower()}")


def test_sender_key_and_broadcast() -> None:
    key = sender_key_with(CIPHERS[CipherId.CHACHA20_POLY1305])
    assert pack_sender_key(key.signed, 0) == example("sender-key")
    datagram = key.seal(pack_part(PartType.FRAME, bytes(range(14))))
    assert BROADCAST_HEADER.pack(EXAMPLE.name, MAX_HOPS) + datagram == example("broadcast")


def example_fragment() -> Fragment:
    """The example peer's peer record."""
    endpoints = (REMOTE, Endpoint.of("2001:db8::1", 6783))
    entries = record_entries(Description("a", DEFAULT_OVERLAY_MTU, 0, 7, endpoints), {})
    return sign_fragment(
        EXAMPLE,
        network_id(NETWORK),
        TOPOLOGY,
        Tree.of(entries.items()),
        incarnation=0x1122334455667788,
        sequence=2**40 + 1,
    )


def test_head_and_peer_record() -> None:
    assert example_fragment().head.raw == example("head")
    delta = pack_delta(TOPOLOGY, example_fragment(), EMPTY)
    assert delta == example("peer-record")


def test_removal() -> None:
    removal = sign_removal(EXAMPLE, network_id(NETWORK), TOPOLOGY, example_fragment().head)
    assert pack_removal(removal) == example("removal")
    assert removal.is_farewell


def test_hash_tree() -> None:
    entries = [(b"1", b"x"), (b"19", b"y"), (b"22", b"z")]
    tree = Tree.of(entries)
    assert b"".join(bytes.fromhex(spot_of(key)) for key, _ in entries) == example("tree-spots")
    assert b"".join(Leaf(*entry).digest for entry in entries) == example("tree-leaves")

    def digest(node: Node | None) -> bytes:
        assert node is not None
        return node.digest

    inner = [digest(tree.node_at(path)) for path in ("c3", "c", "")]
    assert b"".join(inner) == example("tree-inner")
    assert tree.digest == inner[-1]
    assert f"the size is {tree.size_bytes}:" in section("6.2")


def test_want_and_nodes() -> None:
    fragment = example_fragment()
    tree_id, paths = (TOPOLOGY, EXAMPLE.name), ("", "c3")
    assert pack_want(Want(tree_id, fragment.head.root, paths)) == example("want")
    nodes = [(path, fragment.tree.node_at(path)) for path in paths]
    assert pack_nodes(tree_id, fragment.head.root, nodes) == example("nodes")

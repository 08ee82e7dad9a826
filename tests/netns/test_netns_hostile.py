"""Strangers' bytes at the ports of a live node: the mesh carries on, and says what it refused.

The attacker sits on the underlay's hub, where it reaches every host and sees every wire.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import time
from collections.abc import Iterator, Sequence

import pytest

from meshnet.errors import CloseCode
from meshnet.gossip.fragments import HEAD_BYTES, Fragment, pack_channel, parse_head, sign_fragment
from meshnet.gossip.messages import pack_delta
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import Endpoint, network_id
from meshnet.lab.hosts import Underlay
from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.topology.records import (
    TOPOLOGY,
    Description,
    record_entries,
)
from meshnet.wire.ciphers import DEFAULT_PREFERENCE
from meshnet.wire.datagram import HEADER, DatagramType
from meshnet.wire.handshake import initiate
from meshnet.wire.identity import Identity, psk_of_password
from meshnet.wire.link import (
    MAGIC,
    VERSION,
    FrameKind,
    LinkAuthenticated,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    LinkProtocol,
    RecordReceived,
)
from meshnet.wire.messages import MessageType, pack_message
from netns.tools import (
    PASSWORD,
    PORT,
    Capture,
    Datagram,
    PingStream,
    drops_of,
    kill_node,
    memory_bytes,
    report_of,
    tcp_connection,
    udp_socket,
    wait_until,
)

NETWORK_ID = network_id("meshnet")
ATTACKER, ATTACKER_IPV6 = "192.0.2.250", "2001:db8:1::250"
VICTIM = Underlay.ipv4(1)
CLOSED_WITHIN_S = 2.0
HANDSHAKE_TIMEOUT_S = 5.0
LONGEST_GAP_S = 1.0
MAX_GROWTH_BYTES = 6 * 1024 * 1024


def hello(lowest: int = VERSION, highest: int = VERSION, network: bytes = NETWORK_ID) -> bytes:
    return MAGIC + bytes((lowest, highest, 0, 0)) + network


def frame(kind: int, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(2, "big") + bytes((kind,)) + body


def random_bytes(size: int) -> bytes:
    """Never a hello: they begin with a byte that MAGIC does not."""
    return b"\x80" + random.randbytes(size - 1)


@pytest.fixture(scope="module")
def attacked(mesh: LabMesh) -> LabMesh:
    """A mesh with addresses for the attacker on its hub."""
    mesh.underlay.hub.ip(
        f"addr add {ATTACKER}/24 dev wire", f"addr add {ATTACKER_IPV6}/64 dev wire nodad"
    )
    return mesh


@pytest.fixture
def victim(attacked: LabMesh) -> Iterator[LabHost]:
    """The attacked host. It pings and is pinged, and must not have noticed by the end."""
    one, near, far = attacked.hosts
    with (
        PingStream(near.namespace, one.overlay_ipv4) as from_near,
        PingStream(far.namespace, one.overlay_ipv6) as from_far,
        PingStream(one.namespace, near.overlay_ipv4) as to_near,
    ):
        streams = (from_near, from_far, to_near)
        for stream in streams:
            stream.first_answer_after(0, 5)
        yield one
        for stream in streams:
            stream.first_answer_after(time.time(), 2)
            assert stream.longest_gap_s() < LONGEST_GAP_S
    rows = report_of(one)["connections"]
    assert {row["nickname"] for row in rows} == {near.nickname, far.nickname}
    assert {row["state"] for row in rows} == {"established"}
    theirs = {
        str(Endpoint(address, PORT)) for host in (near, far) for address in addresses_of(host)
    }
    assert {row["address"] for row in rows} <= theirs, "an attacker moved a session"


@pytest.fixture
def fresh_log(attacked: LabMesh) -> None:
    """Start the victim's node again: how much strangers can make it log is limited."""
    host = attacked.hosts[0]
    kill_node(host)
    host.log.rename(host.log.with_suffix(f".log.{time.monotonic_ns()}"))
    attacked.start_node(host)
    attacked.wait_full_mesh(20)


# Links.


@contextlib.contextmanager
def connected(mesh: LabMesh) -> Iterator[tuple[socket.socket, str]]:
    """A TCP connection to the victim, and the address by which its log calls it."""
    with tcp_connection(mesh.underlay.hub, VICTIM, PORT) as connection:
        host, port = connection.getsockname()
        yield connection, f"{host}:{port}"


def until_closed(connection: socket.socket) -> bytes:
    """What the node says before it closes."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            said += data
    return said


def log_lines(host: LabHost, address: str) -> list[str]:
    lines = host.log.read_text(errors="replace").splitlines()
    return [line for line in lines if f"addr={address} " in line + " "]


CLOSE_CODES = {
    "other version": CloseCode.OTHER_VERSION,
    "other network": CloseCode.OTHER_NETWORK,
}
STRANGERS = {
    "random bytes": (random_bytes(64), "not a meshnet peer"),
    "many random bytes": (random_bytes(1_000_000), "not a meshnet peer"),
    "one wrong byte": (MAGIC[:-1] + b"\r", "not a meshnet peer"),
    "http": (b"GET / HTTP/1.1\r\nHost: h1\r\n\r\n", "not a meshnet peer"),
    "newer version": (hello(VERSION + 1, VERSION + 9), "other version"),
    "older version": (hello(0, 0), "other version"),
    "other network": (hello(network=network_id("other")), "other network"),
    "oversized length": (hello() + b"\xff\xff\x01" + random_bytes(60_000), "oversized"),
    "empty frame": (hello() + b"\x00\x00", "empty frame"),
    "record before keys": (hello() + frame(FrameKind.RECORD, random_bytes(64)), "frame kind 3"),
    "unknown kind": (hello() + frame(200, b""), "frame kind 200"),
    "garbage handshake": (hello() + frame(FrameKind.HANDSHAKE, random_bytes(48)), "handshake"),
    "short handshake": (hello() + frame(FrameKind.HANDSHAKE, b"x"), "handshake"),
    "malformed close": (hello() + frame(FrameKind.CLOSE, b""), "malformed close"),
    "unknown close": (hello() + frame(FrameKind.CLOSE, b"\xee"), "unknown code 238"),
}


@pytest.mark.usefixtures("fresh_log")
@pytest.mark.parametrize(("data", "reason"), STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_link_is_closed_with_one_line(
    attacked: LabMesh, victim: LabHost, data: bytes, reason: str
) -> None:
    with connected(attacked) as (connection, address):
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        said = until_closed(connection)
        assert time.monotonic() - started < CLOSED_WITHIN_S
    if code := CLOSE_CODES.get(reason):
        assert said == hello() + frame(FrameKind.CLOSE, bytes((code,)))
    if not data.startswith(MAGIC):
        assert said == b"", "a stranger learned something"
    [line] = log_lines(victim, address)
    assert "link refused" in line
    assert reason in line


@pytest.mark.usefixtures("fresh_log")
def test_a_handshake_cut_off_is_closed_with_one_line(attacked: LabMesh, victim: LabHost) -> None:
    whole = hello() + frame(FrameKind.HANDSHAKE, random_bytes(48))
    for size in (0, 1, len(hello()) - 1, len(hello()), len(hello()) + 1, len(whole) - 1):
        with connected(attacked) as (connection, address):
            connection.sendall(whole[:size])
            connection.shutdown(socket.SHUT_WR)
            until_closed(connection)
        lines = wait_until(
            lambda: log_lines(victim, address),
            *(CLOSED_WITHIN_S, "a line in the log"),
        )
        assert len(lines) == 1
        assert "link refused" in lines[0]
        assert "the other end closed the connection" in lines[0]


@pytest.mark.usefixtures("fresh_log")
def test_handshakes_left_open_are_closed_in_time_and_harm_nobody(
    attacked: LabMesh, victim: LabHost
) -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connected(attacked)) for _ in range(300)]
        before = memory_bytes(victim)
        for number, (connection, _) in enumerate(opened):
            # Nothing, part of a hello, a hello, part of a frame within bounds.
            connection.sendall((b"", hello()[:11], hello(), hello() + b"\x03\xff\x01x")[number % 4])
        started = time.monotonic()
        for connection, _ in opened:
            until_closed(connection)
        assert time.monotonic() - started < HANDSHAKE_TIMEOUT_S + CLOSED_WITHIN_S
        refused = [line for _, address in opened for line in log_lines(victim, address)]
        assert all("link refused" in line for line in refused)
        assert all("not finished in time" in line for line in refused)
        # Every one would fill a disk, none would hide an attack.
        assert 10 < len(refused) < 50
        assert memory_bytes(victim) - before < MAX_GROWTH_BYTES


def test_a_peer_can_join_while_strangers_hold_handshakes_open(attacked: LabMesh) -> None:
    host = attacked.hosts[1]
    with contextlib.ExitStack() as stack:
        kill_node(host)
        for _ in range(300):
            connection, _ = stack.enter_context(connected(attacked))
            connection.sendall(hello())
        attacked.start_node(host)
        assert attacked.wait_full_mesh(10) < HANDSHAKE_TIMEOUT_S


class RoguePeer:
    """Speaks the link's protocol to the victim, by hand, and may lie. ``events``: all it heard."""

    def __init__(self, mesh: LabMesh, identity: Identity, password: str = PASSWORD) -> None:
        self.name = identity.name
        psk = psk_of_password(password, "meshnet")
        self.protocol = LinkProtocol(
            LinkConfig(identity, NETWORK_ID, (psk,), life=1),
            dialler=True,
            rng=os.urandom,
        )
        self.events: list[LinkEvent] = []
        self._stack = contextlib.ExitStack()
        self.connection, self.address = self._stack.enter_context(connected(mesh))
        self.is_closed = False

    def __enter__(self) -> RoguePeer:
        while not self.is_closed and not self.heard(LinkAuthenticated):
            self.exchange()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def exchange(self) -> None:
        """Say what there is to say, and hear one answer."""
        self.connection.sendall(self.protocol.data_to_send())
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.connection.recv(65536)
        self.is_closed = not data
        self.protocol.receive(data, time.monotonic())
        while (event := self.protocol.next_event()) is not None:
            self.events.append(event)

    def heard(self, kind: type[LinkEvent]) -> list[LinkEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    def close_code(self) -> CloseCode:
        """The reason the victim gives for closing."""
        while not self.is_closed:
            self.exchange()
        [closed] = self.heard(LinkClosed)
        assert isinstance(closed, LinkClosed)
        return closed.code

    def send(self, message_type: MessageType, body: bytes) -> None:
        self.protocol.send_record(pack_message(message_type, body))
        self.connection.sendall(self.protocol.data_to_send())

    def is_answered(self) -> bool:
        """A ping on the link comes back."""
        token = os.urandom(8)
        self.send(MessageType.PING, token)
        while not self.is_closed:
            if RecordReceived(pack_message(MessageType.PONG, token)) in self.events:
                return True
            self.exchange()
        return False


def identity_of(host: LabHost) -> Identity:
    text = (host.directory / "state" / "identity").read_text(encoding="ascii")
    return Identity.of_seed(bytes.fromhex(text))


def new_identity() -> Identity:
    return Identity.of_seed(os.urandom(32))


@pytest.mark.usefixtures("fresh_log")
def test_a_wrong_password_is_told_to_the_dialler_and_logged(
    attacked: LabMesh, victim: LabHost
) -> None:
    with RoguePeer(attacked, new_identity(), "guess") as rogue:
        assert rogue.close_code() is CloseCode.WRONG_PASSWORD
    [line] = log_lines(victim, rogue.address)
    assert "wrong password" in line


@pytest.mark.usefixtures("fresh_log")
def test_a_claimed_name_that_does_not_fit_the_key_is_refused(
    attacked: LabMesh, victim: LabHost
) -> None:
    claimed = identity_of(attacked.hosts[1])
    liar = new_identity().replaced(name=claimed.name, public_key=claimed.public_key)
    with RoguePeer(attacked, liar) as rogue:
        assert rogue.close_code() is CloseCode.BAD_IDENTITY
    [line] = log_lines(victim, rogue.address)
    assert "link refused" in line
    assert "bad identity" in line


def test_forged_and_senseless_fragments_are_counted_and_the_link_stays(
    attacked: LabMesh, victim: LabHost
) -> None:
    channel, writer = TOPOLOGY, new_identity()
    entries = record_entries(Description("forged", 1376, 0, 1, ()), {})

    def told(entries: dict[bytes, bytes], key: bytes = writer.public_key) -> bytes:
        tree = Tree.of(entries.items())
        good = sign_fragment(writer, NETWORK_ID, channel, tree, incarnation=1, sequence=2**60)
        # The writer's key is the first field of a head (wire.md section 6.1).
        head = parse_head(key + good.head.raw[len(key) :])
        return pack_delta(channel, Fragment(head, tree), EMPTY)

    before = drops_of(victim)
    with RoguePeer(attacked, new_identity()) as rogue:
        # In another's name; changed on the way; signed, but saying nothing of a peer.
        rogue.send(MessageType.DELTA, told(entries, identity_of(attacked.hosts[1]).public_key))
        rogue.send(
            MessageType.DELTA, flipped(told(entries), len(pack_channel(channel)) + HEAD_BYTES - 1)
        )
        rogue.send(MessageType.DELTA, told({}))
        assert rogue.is_answered()
        assert "forged" not in {peer["nickname"] for peer in report_of(victim)["peers"]}
    after = drops_of(victim)
    assert after["bad_fragment"] == before.get("bad_fragment", 0) + 2
    assert after["bad_entry"] == before.get("bad_entry", 0) + 1
    wait_until_gone(victim, rogue)


@pytest.mark.parametrize("kind", [MessageType.DELTA, MessageType.WANT, MessageType.NODES])
def test_gossip_that_no_peer_would_send_ends_its_link_only(
    attacked: LabMesh, victim: LabHost, kind: MessageType
) -> None:
    with RoguePeer(attacked, new_identity()) as rogue:
        rogue.send(kind, random_bytes(100))
        assert rogue.close_code() is CloseCode.PROTOCOL_ERROR
    wait_until_gone(victim, rogue)


def wait_until_gone(host: LabHost, rogue: RoguePeer) -> None:
    wait_until(
        lambda: str(rogue.name) not in {row["peer"] for row in report_of(host)["connections"]},
        *(5, "the rogue is gone from the report"),
    )


@pytest.mark.parametrize("damage", ["flipped", "replayed", "malformed", "clear close"])
def test_a_record_that_breaks_the_protocol_ends_its_link_only(
    attacked: LabMesh, victim: LabHost, damage: str
) -> None:
    with RoguePeer(attacked, new_identity()) as rogue:
        if damage == "malformed":
            rogue.send(MessageType.PING, b"abc")
        else:
            rogue.protocol.send_record(pack_message(MessageType.PING, os.urandom(8)))
            sealed = bytearray(rogue.protocol.data_to_send())
            if damage == "flipped":
                sealed[-1] ^= 1
            elif damage == "replayed":
                sealed *= 2
            else:
                sealed = bytearray(frame(FrameKind.CLOSE, bytes((CloseCode.SHUTDOWN,))))
            rogue.connection.sendall(sealed)
        assert rogue.close_code() is CloseCode.PROTOCOL_ERROR
    wait_until_gone(victim, rogue)
    text = victim.log.read_text(errors="replace")
    assert len(re.findall(f"link lost peer={rogue.name.short} ", text)) == 1


def test_a_record_cut_off_ends_its_link_only(attacked: LabMesh, victim: LabHost) -> None:
    with RoguePeer(attacked, new_identity()) as rogue:
        rogue.connection.sendall(b"\xff\xff\x03" + random_bytes(1000))
        rogue.connection.shutdown(socket.SHUT_WR)
        until_closed(rogue.connection)
    wait_until_gone(victim, rogue)


# Datagrams.


def assert_counted(
    attacked: LabMesh, victim: LabHost, reason: str, datagrams: Sequence[bytes]
) -> None:
    """Every one of ``datagrams`` is dropped for ``reason``, nothing else is, nor any answered."""
    before = dict(drops_of(victim))
    wanted = before | {reason: before.get(reason, 0) + len(datagrams)}
    with udp_socket(attacked.underlay.hub) as udp:
        for datagram in datagrams:
            udp.sendto(datagram, (VICTIM, PORT))
        with contextlib.suppress(AssertionError):
            wait_until(lambda: drops_of(victim) == wanted, 5, "the drops to be counted")
        assert drops_of(victim) == wanted
        assert_nothing_heard(udp)


def assert_nothing_heard(udp: socket.socket) -> None:
    udp.setblocking(False)
    with pytest.raises(BlockingIOError):
        udp.recv(2048)


def data_header(index: int = 1, counter: int = 1, kind: int = DatagramType.DATA) -> bytes:
    return HEADER.pack(kind, 0, 0, index, counter)


def random_index() -> int:
    return random.getrandbits(32)


SENSELESS = {
    "empty": ("truncated", [b""] * 10),
    "shorter than a header": ("truncated", [random.randbytes(n) for n in range(1, 16)]),
    "unknown type": (
        "unknown_type",
        [data_header(kind=kind) + random.randbytes(kind) for kind in (0, *range(6, 256))],
    ),
    "data of no session": (
        "unknown_session",
        [data_header(random_index()) + random.randbytes(n) for n in range(0, 1450, 10)],
    ),
    "an answer to nothing": (
        "unknown_session",
        [data_header(random_index(), kind=2) + random.randbytes(n) for n in range(0, 100, 5)],
    ),
    "an initiation cut off": (
        "bad_handshake",
        [data_header(kind=1) + random.randbytes(n) for n in range(0, 145, 4)],
    ),
    "a garbage initiation": (
        "bad_mac",
        [data_header(kind=1) + random.randbytes(n) for n in (*range(145, 200, 4), 1400)],
    ),
    "frames in clear of no session": (
        "unknown_session",
        [data_header(random_index(), kind=5) + random.randbytes(n) for n in range(0, 100, 5)],
    ),
}


@pytest.mark.parametrize(("reason", "datagrams"), SENSELESS.values(), ids=SENSELESS)
def test_senseless_datagrams_are_counted_by_reason(
    attacked: LabMesh, victim: LabHost, reason: str, datagrams: list[bytes]
) -> None:
    assert_counted(attacked, victim, reason, datagrams)


@pytest.fixture
def recorded(attacked: LabMesh, victim: LabHost) -> list[bytes]:
    """Datagrams of live sessions, as the attacker has seen them go to the victim."""
    with Capture(attacked.underlay.hub, "port1") as capture:

        def seen() -> list[bytes]:
            return [
                datagram.payload
                for datagram in datagrams_of(capture, DatagramType.DATA)
                if datagram.destination in addresses_of(victim)
            ]

        wait_until(lambda: len(seen()) >= 20, 10, "datagrams to record")
        return seen()


def datagrams_of(capture: Capture, *kinds: DatagramType) -> list[Datagram]:
    """All captured datagrams of these kinds, each once, in order."""
    found = {Datagram.of_frame(frame): None for frame in capture.frames()}
    return [datagram for datagram in found if datagram and datagram.payload[0] in kinds]


def addresses_of(host: LabHost) -> tuple[str, str]:
    return Underlay.ipv4(host.number), Underlay.ipv6(host.number)


def test_replayed_datagrams_are_counted_and_move_nothing(
    attacked: LabMesh, victim: LabHost, recorded: list[bytes]
) -> None:
    # Again and again, since it takes a frame of the victim's own to show where it sends.
    for _ in range(50):
        assert_counted(attacked, victim, "replayed", recorded)


def flipped(datagram: bytes, at: int) -> bytes:
    changed = bytearray(datagram)
    changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def test_datagrams_with_a_flipped_bit_are_counted(
    attacked: LabMesh, victim: LabHost, recorded: list[bytes]
) -> None:
    # Flags, reserved, counter, ciphertext, tag. (Type and index have tests of their own.)
    places = (1, 2, 8, 15, 16, 40, -1)
    datagrams = [flipped(datagram, at) for datagram in recorded for at in places]
    assert_counted(attacked, victim, "bad_tag", datagrams)
    moved = [flipped(datagram, 4) for datagram in recorded]
    assert_counted(attacked, victim, "unknown_session", moved)


def test_cut_off_datagrams_of_a_session_are_counted(
    attacked: LabMesh, victim: LabHost, recorded: list[bytes]
) -> None:
    cut = [recorded[0][:size] for size in range(16, len(recorded[0]))]
    assert_counted(attacked, victim, "bad_tag", cut)
    assert_counted(attacked, victim, "bad_tag", [whole + b"\x00" for whole in recorded])


def test_a_handshake_of_a_stranger_who_knows_the_victim_s_key_is_counted(
    attacked: LabMesh, victim: LabHost
) -> None:
    target = identity_of(victim)
    datagrams = [
        initiate(
            *(new_identity(), NETWORK_ID),
            peer=target.name,
            their_static=target.static.public,
            our_index=random_index(),
            stamp=number,
            ciphers=DEFAULT_PREFERENCE,
            capabilities=0,
            ephemeral_secret=os.urandom(32),
            remote=Endpoint(VICTIM, PORT),
            now=0.0,
        ).datagram
        for number in range(20)
    ]
    assert_counted(attacked, victim, "unknown_peer", datagrams)


def answered_handshake(capture: Capture) -> Datagram:
    """The first message of a handshake; either end of a pair may have been the one to begin."""
    datagrams = datagrams_of(capture, DatagramType.INITIATION, DatagramType.RESPONSE)
    for number, first in enumerate(datagrams):
        if first.payload[0] == DatagramType.INITIATION:
            for answer in datagrams[number:]:
                back = (answer.destination, answer.source) == (first.source, first.destination)
                if back and answer.payload[0] == DatagramType.RESPONSE:
                    return first
    raise AssertionError("no handshake was answered")


def test_a_replayed_handshake_is_not_answered_again(attacked: LabMesh) -> None:
    far = attacked.hosts[2]
    with Capture(attacked.underlay.hub) as capture:
        kill_node(far)
        attacked.start_node(far)
        attacked.wait_full_mesh(20)
        handshake = answered_handshake(capture)
    [host] = [host for host in attacked.hosts if handshake.destination in addresses_of(host)]
    other = next(other for other in attacked.hosts if other is not host)
    with PingStream(other.namespace, host.overlay_ipv4) as stream:
        stream.first_answer_after(0, 5)
        attacker = ATTACKER_IPV6 if ":" in handshake.destination else ATTACKER
        with udp_socket(attacked.underlay.hub, attacker) as udp:
            wanted = drops_of(host).get("old_stamp", 0) + 20
            for _ in range(20):
                udp.sendto(handshake.payload, (handshake.destination, PORT))
            wait_until(lambda: drops_of(host).get("old_stamp") == wanted, 5, "the drops")
            assert_nothing_heard(udp)
        assert stream.longest_gap_s() < LONGEST_GAP_S


def test_a_flood_from_many_addresses_does_not_grow_the_node(
    attacked: LabMesh, victim: LabHost
) -> None:
    hub = attacked.underlay.hub
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(udp_socket(hub, ATTACKER)) for _ in range(200)]

        def flood(count: int) -> None:
            counters = report_of(victim)["data_path"]["counters"]
            for number in range(count):
                # Each kind in turn; initiations cost the victim most, so fewer of them.
                kind = 1 if number % 50 == 0 else 2 + number % 3
                datagram = bytes((kind,)) + random.randbytes(1400)
                sources[number % len(sources)].sendto(datagram, (VICTIM, PORT))
            done = counters["datagrams_received"] + count // 2
            wait_until(
                lambda: report_of(victim)["data_path"]["counters"]["datagrams_received"] >= done,
                *(20, "at least half of the flood was looked at"),
            )

        flood(2000)  # What is cached once is cached by then.
        before = memory_bytes(victim)
        flood(40_000)
        assert memory_bytes(victim) - before < MAX_GROWTH_BYTES

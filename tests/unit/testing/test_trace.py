"""What a failure shows of the network: as much as stands in clear, and no more than fits."""

from __future__ import annotations

from meshnet.errors import CloseCode
from meshnet.testing.emulator import Transport
from meshnet.testing.trace import Packet, Trace, describe_datagram, describe_stream
from meshnet.wire.datagram import HEADER, DatagramType
from meshnet.wire.link import FrameKind
from support.link_pair import frame, hello

DATA = HEADER.pack(DatagramType.DATA, 0, 0, 0xABCD, 12) + bytes(20)


def packet(number: int = 0, *, data: bytes = DATA, fault: str = "") -> Packet:
    return Packet(1000.0 + number, "a", "b 1", Transport.UDP, data, fault)


def test_datagrams_are_told_by_what_is_in_clear() -> None:
    assert describe_datagram(DATA) == "DATA index 0000abcd counter 12, 36 bytes"
    initiation = HEADER.pack(DatagramType.INITIATION, 0, 0, 0, 0) + bytes(4)
    assert describe_datagram(initiation) == "INITIATION, 20 bytes"
    assert describe_datagram(HEADER.pack(99, 0, 0, 0, 0)) == "type 99, 16 bytes"
    assert describe_datagram(b"short") == "5 bytes, no header"


def test_links_are_told_frame_by_frame() -> None:
    sealed = frame(FrameKind.RECORD, bytes(40)) + frame(FrameKind.CLOSE, bytes(17))
    assert describe_stream(sealed) == f"RECORD(40), CLOSE(17): {len(sealed)} bytes"
    refusal = frame(FrameKind.CLOSE, bytes((CloseCode.WRONG_PASSWORD,)))
    assert describe_stream(hello() + refusal).startswith("HELLO, CLOSE WRONG_PASSWORD: ")
    assert describe_stream(frame(77, b"")) == "kind 77(0): 3 bytes"
    assert describe_stream(b"\x00\x00") == "2 bytes more: 2 bytes"
    assert describe_stream(frame(FrameKind.CLOSE, b"\xee")) == "CLOSE 238: 4 bytes"


def test_any_bytes_can_be_told() -> None:
    for size in range(40):
        describe_stream(bytes(size))
        describe_datagram(bytes(size))


def test_a_line_has_time_ends_kind_and_fault() -> None:
    line = str(packet(fault="lost"))
    what = "udp DATA index 0000abcd counter 12, 36 bytes"
    assert line.strip() == f"1000.000000  a > b 1  {what}  ** lost"


def test_the_end_is_shown_and_the_rest_counted() -> None:
    trace = Trace(keep=50)
    for number in range(200):
        trace.add(packet(number))
    assert len(trace) == 200
    assert len(list(trace)) == 50
    lines = trace.text(last=10).splitlines()
    assert lines[0] == "... 190 packets before"
    assert lines[1:] == [str(packet(number)) for number in range(190, 200)]
    assert trace[-1] == packet(199)


def test_a_digest_is_of_every_packet_its_time_and_its_fate() -> None:
    def digest(*packets: Packet) -> str:
        trace = Trace(keep=1)
        for one in packets:
            trace.add(one)
        return trace.digest

    assert digest(packet(1), packet(2)) == digest(packet(1), packet(2))
    others = [
        digest(packet(1), packet(2)),
        digest(packet(2), packet(1)),
        digest(packet(1), packet(2, fault="lost")),
        digest(packet(1), packet(2, data=DATA[:-1])),
        digest(packet(1)),
    ]
    assert len(set(others)) == len(others)


def test_a_sequence_diagram_shows_who_sent_what_and_what_was_lost() -> None:
    trace = Trace()
    trace.add(packet(1))
    trace.add(packet(2, fault="lost"))
    trace.add(packet(3, fault="duplicated"))
    first, *arrows = trace.mermaid().splitlines()
    assert first == "sequenceDiagram"
    assert [arrow.split(":")[0].strip() for arrow in arrows] == ["a->>b_1", "a-xb_1", "a->>b_1"]
    assert arrows[1].endswith("(lost)")

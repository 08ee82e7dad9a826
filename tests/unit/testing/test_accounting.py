"""What packets weigh, headers and acknowledgements included."""

from __future__ import annotations

from meshnet.testing import Cluster
from meshnet.testing.accounting import SEGMENT_BYTES, SentOnWire


def test_headers_and_acknowledgements_are_counted() -> None:
    sent = SentOnWire()
    sent.datagram(100)
    sent.written(2 * SEGMENT_BYTES + 1)
    sent.acknowledged(2 * SEGMENT_BYTES + 1)
    sent.acknowledged(1)
    assert sent.bytes_by_kind == {
        "udp": 128,
        "tcp": 3 * 52 + 2 * SEGMENT_BYTES + 1,
        "tcp ack": 3 * 52,
    }
    assert sent.packets == 7
    sent.clear()
    assert sent.bytes == sent.packets == 0


def test_hosts_count_what_they_say() -> None:
    cluster = Cluster()
    one, other, silent = cluster.add_many(3)
    other.connect(one)
    cluster.run_until(lambda: bool(one.peers), within_s=5.0)
    for host in (one, other):
        kinds = host.sent_on_wire.packets_by_kind
        assert all(kinds[kind] > 0 for kind in ("udp", "tcp", "tcp control")), kinds
    assert other.sent_on_wire.bytes_by_kind["tcp control"] == 60 + 52
    assert one.sent_on_wire.bytes_by_kind["tcp control"] == 60
    assert silent.sent_on_wire.packets == 0
    one.sent_on_wire.clear()
    other.sent_on_wire.clear()
    other.stop()
    cluster.run_for(1.0)
    assert other.sent_on_wire.packets_by_kind["tcp control"] == 1


def test_an_answer_at_once_is_an_acknowledgement() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    other.connect(one)
    cluster.run_until(lambda: bool(one.peers), within_s=5.0)
    cluster.run_for(1.0)
    one.sent_on_wire.clear()
    other.sent_on_wire.clear()
    one.engine.links.suspect(other.name, cluster.now)
    one.drain()
    cluster.run_for(0.1)
    assert one.sent_on_wire.packets_by_kind == {"tcp": 1, "tcp ack": 1}
    assert other.sent_on_wire.packets_by_kind == {"tcp": 1}

"""Messages between peers arrive once, are acknowledged, and say why when they are not."""

from __future__ import annotations

import pytest

from meshnet.errors import DropReason, LocalProtocolError
from meshnet.events import MessageAnswered, MessageReceived
from meshnet.ids import PeerName
from meshnet.peering import unicast
from meshnet.peering.unicast import MAX_PAYLOAD_BYTES, MAX_UNANSWERED
from meshnet.testing import Cluster, Host
from meshnet.wire.datagram import PartType, pack_part
from support.tree import ROOT

TOPIC = "tests"


def meshed(count: int = 2, **settings: float) -> list[Host]:
    cluster = Cluster(seed=3, **settings)  # type: ignore[arg-type]
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=20)
    for host in hosts:
        host.engine.unicast.readers = {TOPIC}
    return hosts


def send(
    source: Host, to: Host, payload: bytes, *, topic: str = TOPIC, timeout_s: float = 5
) -> int:
    number = source.engine.unicast.send(
        to.name, topic, payload, timeout_s=timeout_s, now=source.cluster.now
    )
    source.drain()
    return number


def received(host: Host) -> list[tuple[PeerName, bytes]]:
    return [(event.peer, event.payload) for event in host.events_of(MessageReceived)]


def answers(host: Host) -> dict[int, str]:
    return {event.number: event.reason for event in host.events_of(MessageAnswered)}


def test_a_message_arrives_and_is_acknowledged() -> None:
    one, other = meshed()
    number = send(one, other, b"hello")
    one.cluster.run_for(0.1)
    assert received(other) == [(one.name, b"hello")]
    assert answers(one) == {number: ""}


def test_each_arrives_once_however_bad_the_path() -> None:
    one, other = meshed()
    cluster = one.cluster
    cluster.impair(loss=0.4, duplicate=0.3, reorder=0.3, jitter_s=0.05)
    numbers = [send(one, other, b"%d" % n, timeout_s=60) for n in range(50)]
    cluster.run_for(70)
    assert sorted(received(other)) == sorted((one.name, b"%d" % n) for n in range(50))
    assert answers(one) == dict.fromkeys(numbers, "")


def test_it_goes_through_others_and_survives_a_change_of_path() -> None:
    one, middle, other = meshed(3)
    cluster = one.cluster
    cluster.cut(one, other)
    number = send(one, other, b"around", timeout_s=60)
    cluster.run_for(60)
    assert received(other) == [(one.name, b"around")]
    assert answers(one) == {number: ""}
    assert received(middle) == []


def test_what_nobody_reads_is_said_at_once() -> None:
    one, other = meshed()
    number = send(one, other, b"hello", topic="nobody")
    one.cluster.run_for(0.1)
    assert received(other) == []
    assert answers(one) == {number: "nobody there reads this topic"}


def test_a_reader_that_is_behind_makes_the_sender_wait() -> None:
    one, other = meshed()
    other.engine.unicast.busy = {TOPIC}
    patient, hasty = send(one, other, b"patient", timeout_s=30), send(one, other, b"hasty")
    one.cluster.run_for(6)
    assert answers(one) == {hasty: "its reader is behind"}
    other.engine.unicast.busy = ()
    one.cluster.run_for(6)
    assert received(other) == [(one.name, b"patient")]
    assert answers(one)[patient] == ""


def test_what_waited_too_long_to_be_known_is_not_said_to_be_there() -> None:
    one, other = meshed()
    other.engine.unicast.busy = {TOPIC}
    patient = send(one, other, b"patient", timeout_s=60)
    one.cluster.run_for(1)
    other.engine.unicast.busy = ()
    # Of all that this peer sends in the meantime, the last one is what counts.
    one.engine.unicast._next_number += 20_000
    last = send(one, other, b"last")
    one.cluster.run_for(5)
    assert received(other) == [(one.name, b"last")]
    assert answers(one) == {last: "", patient: "too many later messages came before it"}


def test_who_does_not_answer_is_given_up() -> None:
    one, other = meshed()
    other.crash(silent=True)
    number = send(one, other, b"hello", timeout_s=2)
    one.cluster.run_for(1.9)
    assert answers(one) == {}
    one.cluster.run_for(0.2)
    assert answers(one) == {number: "no answer"}


def test_numbers_begin_anew_with_a_life() -> None:
    one, other = meshed()
    send(one, other, b"first life")
    one.cluster.run_for(1)
    one.restart()
    one.cluster.run_until(one.cluster.meshed, within_s=20)
    number = send(one, other, b"second life")
    one.cluster.run_for(1)
    assert received(other) == [(one.name, b"first life"), (one.name, b"second life")]
    assert answers(one) == {number: ""}


def test_a_message_that_outlives_the_session_is_sent_in_the_next() -> None:
    one, other = meshed()
    other.crash()
    number = send(one, other, b"hello", timeout_s=30)
    one.cluster.run_for(2)
    other.start()
    other.engine.unicast.readers = {TOPIC}
    one.cluster.run_for(20)
    assert received(other) == [(one.name, b"hello")]
    assert answers(one) == {number: ""}


def test_answers_of_others_and_of_other_lives_mean_nothing() -> None:
    one, other, third = meshed(3)
    other.crash(silent=True)
    number = send(one, other, b"hello", timeout_s=3)
    life = one.engine.config.life
    for of_life in (life, life ^ 1):
        body = of_life.to_bytes(8, "big") + number.to_bytes(8, "big") + b"\0"
        third.engine.data_path.send_part(
            one.name, pack_part(PartType.MESSAGE_ACK, body), third.cluster.now
        )
        third.drain()
    one.cluster.run_for(4)
    assert answers(one) == {number: "no answer"}


def test_an_answer_to_a_message_of_an_earlier_life_is_none_to_this_one() -> None:
    one, other = meshed()
    other.engine.unicast.readers = ()
    cluster = one.cluster
    cluster.cut(one, other, one_way=True)  # What it asks never arrives.
    number = send(one, other, b"hello", timeout_s=3)
    body = (one.engine.config.life ^ 1).to_bytes(8, "big") + number.to_bytes(8, "big") + b"\0"
    assert other.engine.data_path.send_part(
        one.name, pack_part(PartType.MESSAGE_ACK, body), cluster.now
    )
    other.drain()
    cluster.run_for(4)
    assert answers(one) == {number: "no answer"}


def test_windows_of_the_peers_heard_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicast, "MAX_SENDERS", 2)
    one, *others = meshed(4)
    for other in others:
        send(other, one, b"hello")
        one.cluster.run_for(0.1)
    assert len(received(one)) == 3
    assert list(one.engine.unicast._seen) == [other.name for other in others[1:]]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (PartType.MESSAGE, b""),
        (PartType.MESSAGE, bytes(15)),
        (PartType.MESSAGE, bytes(16) + b"\xff"),
        (PartType.MESSAGE, bytes(16) + b"\x01\xff"),
        (PartType.MESSAGE, bytes(17 + MAX_PAYLOAD_BYTES + 1)),
        (PartType.MESSAGE_ACK, bytes(16)),
        (PartType.MESSAGE_ACK, bytes(18)),
    ],
)
def test_malformed_ones_are_dropped_alone(kind: PartType, body: bytes) -> None:
    one, other = meshed()
    one.engine.data_path.send_part(other.name, pack_part(kind, body), one.cluster.now)
    one.drain()
    number = send(one, other, b"fine")
    one.cluster.run_for(0.1)
    assert other.engine.counters.drops[DropReason.MALFORMED_PART] == 1
    assert answers(one) == {number: ""}


def test_what_nobody_would_accept_is_refused_at_once() -> None:
    one, other = meshed()
    with pytest.raises(ValueError, match="at most 1024"):
        send(one, other, bytes(MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(ValueError, match="control"):
        send(one, other, b"", topic="a\n")
    with pytest.raises(LocalProtocolError, match="itself"):
        send(one, one, b"")
    assert send(one, other, bytes(MAX_PAYLOAD_BYTES))


def test_those_that_wait_are_bounded() -> None:
    one, other = meshed()
    other.crash(silent=True)
    for _ in range(MAX_UNANSWERED):
        send(one, other, b"")
    with pytest.raises(LocalProtocolError, match="wait for an answer"):
        send(one, other, b"")


def test_the_page_has_the_bounds() -> None:
    page = " ".join((ROOT / "docs/messages.md").read_text(encoding="utf-8").split())
    assert f"At most {unicast.MAX_UNANSWERED} messages of yours" in page
    assert f"More than {unicast.MAX_PAYLOAD_BYTES} bytes" in page
    assert f"a topic of more than {unicast.MAX_TOPIC_BYTES}," in page

"""Every close code, told by one real engine to a peer made by hand, and to one by such a peer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.errors import CloseCode
from meshnet.events import LinkLost, LinkRefused
from meshnet.peering.linking import HANDSHAKE_TIMEOUT_S, LINK_TIMEOUT_S
from meshnet.wire.identity import Identity
from meshnet.wire.link import FrameKind, LinkClosed, LinkConfig
from meshnet.wire.messages import MessageType
from support.guest import ENGINE_AT, Guest, engine_of
from support.link_pair import End, frame, hello
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, OTHER_PSK, PSK, link_config

OUR_LIFE, ANOTHER_LIFE = 7, 8

# Each case has an engine close one link; the guest's, who is given back.


def dialling(config: LinkConfig) -> Guest:
    """A guest that calls the engine."""
    who = Guest(engine_of())
    who.end = End.dialler(config)
    return who.dial()


def called(config: LinkConfig) -> Guest:
    """A guest that the engine calls."""
    who = Guest(engine_of(life=OUR_LIFE))
    who.engine.connect(who.at.host, who.at.port, who.now)
    who.drain()
    who.end = End.listener(config)
    return who.meet(target_id=who.dials[0].target_id)


def linked() -> Guest:
    who = Guest(engine_of()).dial()
    assert who.established()
    return who


def stranger(data: bytes) -> Guest:
    """Somebody who has sent ``data``, and no more."""
    who = Guest(engine_of())
    who.engine.link_opened(who.link, who.at, None, who.now)
    who.give_bytes(data)
    return who


def other_network() -> Guest:
    return stranger(hello(network=b"another!"))


def other_version() -> Guest:
    return stranger(hello(lowest=2, highest=3))


def wrong_password() -> Guest:
    return dialling(link_config(BOB, psk=OTHER_PSK))


def bad_identity() -> Guest:
    # Carol's key in the payload, under the Noise key of Bob.
    return dialling(LinkConfig(BOB.replaced(public_key=CAROL.public_key), NETWORK_ID, (PSK,)))


def ourselves() -> Guest:
    return called(link_config(ALICE, life=OUR_LIFE))


def same_identity() -> Guest:
    return called(link_config(ALICE, life=ANOTHER_LIFE))


def duplicate_link() -> Guest:
    first = linked()
    second = first.beside(BOB)
    second.end = End.dialler(link_config(BOB), seed=2, serial=2)
    second.dial()
    assert second.established()
    return first


def protocol_error() -> Guest:
    who = linked()
    who.say_raw(b"\x01short")
    return who


def protocol_error_before_there_are_keys() -> Guest:
    return stranger(hello() + b"\0\0")


def timeout() -> Guest:
    who = linked()
    who.wait(LINK_TIMEOUT_S + 0.1)
    return who


def timeout_before_there_are_keys() -> Guest:
    who = stranger(hello())
    who.wait(HANDSHAKE_TIMEOUT_S + 0.1)
    return who


def shutdown() -> Guest:
    who = linked()
    who.engine.stop(who.now)
    who.drain()
    return who


def shutdown_before_there_are_keys() -> Guest:
    who = stranger(hello())
    who.engine.stop(who.now)
    who.drain()
    return who


def too_many_links() -> Guest:
    first = Guest(engine_of(conn_limit=1)).dial()
    second = first.beside(CAROL).dial()
    assert first.established()
    return second


def unneeded_link() -> Guest:
    """Of seven links four are to neighbours at most; who has more than four closes on request."""
    first = Guest(engine_of(degree=4)).dial()
    more = (Identity.of_seed(bytes((number,)) * 32) for number in range(1, 7))
    guests = [first, *(first.beside(who).dial() for who in more)]
    first.wait(0.1)
    for who in guests:
        who.say(MessageType.UNNEEDED, b"")
    assert sum(who.established() for who in guests) >= 4
    return next(who for who in guests if who.closed())


# (code, whether it is told sealed, how): as the table of wire.md section 3.3 has it.
CASES: list[tuple[CloseCode, bool, Callable[[], Guest]]] = [
    (CloseCode.OTHER_NETWORK, False, other_network),
    (CloseCode.OTHER_VERSION, False, other_version),
    (CloseCode.WRONG_PASSWORD, False, wrong_password),
    (CloseCode.BAD_IDENTITY, False, bad_identity),
    (CloseCode.SELF, False, ourselves),
    (CloseCode.SAME_IDENTITY, False, same_identity),
    (CloseCode.DUPLICATE_LINK, True, duplicate_link),
    (CloseCode.PROTOCOL_ERROR, True, protocol_error),
    (CloseCode.PROTOCOL_ERROR, False, protocol_error_before_there_are_keys),
    (CloseCode.TIMEOUT, True, timeout),
    (CloseCode.TIMEOUT, False, timeout_before_there_are_keys),
    (CloseCode.SHUTDOWN, True, shutdown),
    (CloseCode.SHUTDOWN, False, shutdown_before_there_are_keys),
    (CloseCode.TOO_MANY_LINKS, True, too_many_links),
    (CloseCode.UNNEEDED_LINK, True, unneeded_link),
]


@pytest.mark.parametrize(
    ("code", "sealed", "case"), CASES, ids=[case.__name__ for _, _, case in CASES]
)
def test_each_code_is_the_last_that_the_other_end_hears(
    code: CloseCode, sealed: bool, case: Callable[[], Guest]
) -> None:
    who = case()
    assert who.closed()
    if sealed:
        assert who.end.closed == [LinkClosed(code, code.text, authenticated=True)]
    else:
        assert who.heard.endswith(frame(FrameKind.CLOSE, bytes((code,))))
        [refused] = [event for event in who.events if isinstance(event, LinkRefused)]
        assert (refused.code, refused.by_peer) == (code, False)


def test_every_code_has_a_case() -> None:
    assert {code for code, _, _ in CASES} == set(CloseCode)


@pytest.mark.parametrize("code", CloseCode)
def test_each_code_that_an_engine_is_told_in_clear_is_shown_as_the_other_end_s_word(
    code: CloseCode,
) -> None:
    who = Guest(engine_of())
    who.engine.connect(who.at.host, who.at.port, who.now)
    who.drain()
    who.engine.link_opened(who.link, who.at, who.dials[0].target_id, who.now)
    who.give_bytes(hello() + frame(FrameKind.CLOSE, bytes((code,))))
    assert who.closed()
    [refused] = [event for event in who.events if isinstance(event, LinkRefused)]
    assert refused == LinkRefused(who.at, True, code.text, code, by_peer=True)


@pytest.mark.parametrize("code", CloseCode)
def test_each_code_that_an_engine_is_told_sealed_ends_the_link_with_its_words(
    code: CloseCode,
) -> None:
    who = linked()
    who.end.protocol.close(code)
    who.pump()
    assert who.closed()
    [lost] = [event for event in who.events if isinstance(event, LinkLost)]
    assert lost == LinkLost(BOB.name, code.text)


def test_a_code_of_a_later_version_is_a_protocol_error() -> None:
    who = Guest(engine_of())
    who.engine.link_opened(who.link, ENGINE_AT, None, who.now)
    who.give_bytes(hello() + frame(FrameKind.CLOSE, b"\xc8"))
    [refused] = [event for event in who.events if isinstance(event, LinkRefused)]
    assert (refused.code, refused.by_peer) == (CloseCode.PROTOCOL_ERROR, True)
    assert "unknown code 200" in refused.reason

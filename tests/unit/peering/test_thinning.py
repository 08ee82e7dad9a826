"""Which links go, by what real ends say to each other."""

from __future__ import annotations

from meshnet.errors import CloseCode
from meshnet.events import LinkLost
from meshnet.peering.thinning import ASK_AGAIN_S, ROUND_S, SETTLE_S
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.guest import NOW, Guest, engine_of

DEGREE, ENOUGH = 4, 4
ASKED_BY_S = 1.0 + SETTLE_S + 2 * ROUND_S


def crowd(count: int) -> list[Guest]:
    """Guests that are all linked to one engine."""
    first = Guest(engine_of(degree=DEGREE)).dial()
    names = (Identity.of_seed(bytes((number,)) * 32) for number in range(1, count))
    guests = [first, *(first.beside(who).dial() for who in names)]
    wait(guests, 0.1)
    return guests


def wait(guests: list[Guest], duration_s: float) -> None:
    """Time passes; guests answer pings, so nobody is taken for dead."""
    step = 5.0
    while duration_s > 0:
        guests[0].wait(min(step, duration_s))
        for guest in guests:
            guest.now = guests[0].now
            if not guest.closed():
                guest.say(MessageType.PONG, bytes(8))
        duration_s -= step


def asked(guests: list[Guest]) -> list[Guest]:
    return [guest for guest in guests if guest.messages(MessageType.UNNEEDED)]


def wanted(guests: list[Guest]) -> list[Guest]:
    wants = guests[0].engine._neighbours.wants
    return [guest for guest in guests if wants(guest.who.name)]


def test_who_has_too_many_links_asks_whom_it_does_not_want_and_no_more_than_are_too_many() -> None:
    guests = crowd(DEGREE + 2)
    wait(guests, SETTLE_S)
    assert asked(guests) == []
    while not asked(guests):
        wait(guests, 1.0)
        assert guests[0].now < NOW + ASKED_BY_S
    assert len(asked(guests)) == 2
    assert not set(asked(guests)) & set(wanted(guests))
    assert all(guest.established() for guest in guests), "that is for the other end to do"


def test_up_to_so_many_links_nobody_is_asked() -> None:
    guests = crowd(DEGREE)
    wait(guests, 2 * ASKED_BY_S)
    assert asked(guests) == []


def test_who_keeps_its_link_is_left_alone_for_a_while_and_then_asked_again() -> None:
    guests = crowd(DEGREE + 2)
    wait(guests, ASKED_BY_S)
    first = asked(guests)
    wait(guests, ASK_AGAIN_S)
    for guest in guests:
        guest.end.records.clear()
    wait(guests, ASK_AGAIN_S + ROUND_S)
    assert first
    assert asked(guests)


def test_a_link_that_is_wanted_is_not_closed_on_request() -> None:
    guests = crowd(2 * DEGREE)
    for guest in wanted(guests):
        guest.say(MessageType.UNNEEDED, b"")
    assert wanted(guests)
    assert all(guest.established() for guest in guests)


def test_who_has_few_links_closes_none_on_request() -> None:
    guests = crowd(2 * DEGREE)
    for guest in guests:
        guest.say(MessageType.UNNEEDED, b"what a later version may add")
    assert sum(guest.established() for guest in guests) == max(ENOUGH, len(wanted(guests)))


def test_in_a_small_mesh_nothing_is_closed_on_request() -> None:
    guests = crowd(DEGREE)
    for guest in guests:
        guest.say(MessageType.UNNEEDED, b"")
    assert all(guest.established() for guest in guests)


def test_a_link_closed_so_is_told_with_why() -> None:
    guests = crowd(2 * DEGREE)
    for guest in guests:
        guest.say(MessageType.UNNEEDED, b"")
    events = [event for guest in guests for event in guest.events]
    lost = [event for event in events if isinstance(event, LinkLost)]
    assert {event.reason for event in lost} == {CloseCode.UNNEEDED_LINK.text}
    assert len(lost) == sum(guest.closed() for guest in guests)

"""Who is there, by what is announced; compared with the definition, written down slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.ids import PeerName
from meshnet.topology.presence import peers_present

US, A, B, C, D = (PeerName(bytes(15) + bytes((number,))) for number in range(5))
PEERS = [US, A, B, C, D]
VIEWS = st.dictionaries(st.sampled_from(PEERS), st.sets(st.sampled_from(PEERS[1:])))


def test_who_is_announced_by_somebody_within_reach_is_there_without_a_record() -> None:
    assert peers_present(US, [A], {A: {US, B}}) == {US, A, B}


def test_what_somebody_out_of_reach_announces_counts_for_nothing() -> None:
    # B is there, but does not announce A: it may be a record of long ago.
    assert peers_present(US, [A], {A: {US, B}, B: {C}}) == {US, A, B}
    assert peers_present(US, [A], {A: {US, B}, B: {A, C}}) == {US, A, B, C}
    assert peers_present(US, [], {A: {US, B}, US: {A}}) == {US}


@given(VIEWS, st.sets(st.sampled_from(PEERS[1:])))
def test_presence_is_what_its_definition_says(
    announced: dict[PeerName, set[PeerName]], linked: set[PeerName]
) -> None:
    reached = {US} | linked
    for _ in PEERS:
        reached |= {
            peer
            for peer in PEERS
            for other in reached - {US}
            if peer in announced.get(other, ()) and other in announced.get(peer, ())
        }
    told = {peer for other in reached - {US} for peer in announced.get(other, ())}
    assert peers_present(US, linked, announced) == {US} | linked | told

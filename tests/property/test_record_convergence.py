"""Tables that got the same records, in whatever order and however often, are equal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.gossip.records import PeerRecord, RecordTable, write_record
from meshnet.wire.identity import Identity
from support.samples import ALICE, BOB, CAROL, NETWORK_ID


def record(who: Identity, incarnation: int, sequence: int, nickname: str) -> PeerRecord:
    return write_record(
        who,
        NETWORK_ID,
        incarnation=incarnation,
        sequence=sequence,
        nickname=nickname,
        overlay_mtu=1376,
        capabilities=0,
        life=7,
        endpoints=(),
        links=(),
    )


RECORDS = st.builds(
    record,
    st.sampled_from([ALICE, BOB, CAROL]),
    st.integers(0, 1),
    st.integers(0, 3),
    st.sampled_from(["a", "b"]),
)


def table_of(records: list[PeerRecord]) -> dict[bytes, PeerRecord]:
    table = RecordTable()
    for each in records:
        table.put(each)
    return {each.name: each for each in table}


@given(st.data(), st.lists(RECORDS, max_size=12))
def test_any_order_and_repetition_ends_in_the_same_table(
    data: st.DataObject, records: list[PeerRecord]
) -> None:
    shuffled = data.draw(st.permutations(records))
    repeated = data.draw(st.permutations(records + shuffled))
    assert table_of(records) == table_of(shuffled) == table_of(repeated)


@given(st.lists(RECORDS, max_size=12), st.lists(RECORDS, max_size=12))
def test_passing_on_only_what_is_news_loses_nothing(
    here: list[PeerRecord], there: list[PeerRecord]
) -> None:
    # What `put` calls news is what an engine spreads.
    ours, theirs = RecordTable(), RecordTable()
    for table, other, records in ((ours, theirs, here), (theirs, ours, there)):
        for each in records:
            if table.put(each):
                other.put(each)
    assert {r.name: r for r in ours} == {r.name: r for r in theirs} == table_of(here + there)


@given(st.lists(RECORDS, max_size=12))
def test_what_wins_is_greatest_in_the_total_order(records: list[PeerRecord]) -> None:
    for name, winner in table_of(records).items():
        assert winner.order == max(each.order for each in records if each.name == name)

"""The bytes of a journal: what is cut off, what is refused, and that nothing is ever made up."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from meshnet.errors import LocalProtocolError
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES
from meshnet.store import journal_format as form
from support.samples import flip

HEAD = form.Head(7, b"marker-1")
GROUPS = [[b"one"], [b"two", b"", b"three"], [b"four" * 20]]


def journal_of(groups: list[list[bytes]], head: form.Head = HEAD) -> bytes:
    packed = [
        form.pack_group(head.marker, head.sequence + 1 + number, group)
        for number, group in enumerate(groups)
    ]
    return form.pack_head(form.JOURNAL_MAGIC, head) + b"".join(packed)


def ends_of(groups: list[list[bytes]]) -> list[int]:
    return [len(journal_of(groups[:count])) for count in range(len(groups) + 1)]


WHOLE = journal_of(GROUPS)
ENDS = ends_of(GROUPS)


def test_a_journal_gives_its_records_in_order() -> None:
    groups = form.parse_journal(WHOLE)
    assert groups.records == [b"one", b"two", b"", b"three", b"four" * 20]
    assert (groups.sequence, groups.end, groups.last) == (10, len(WHOLE), ENDS[2])


def test_an_empty_journal_goes_on_from_its_head() -> None:
    groups = form.parse_journal(journal_of([]))
    assert (groups.records, groups.sequence, groups.last) == ([], 7, 0)
    assert groups.end == form.HEAD_BYTES


def test_cut_off_anywhere_it_ends_with_the_last_whole_group() -> None:
    for size in range(form.HEAD_BYTES, len(WHOLE)):
        whole = max(number for number, end in enumerate(ENDS) if end <= size)
        groups = form.parse_journal(WHOLE[:size])
        assert groups.records == [record for group in GROUPS[:whole] for record in group]
        assert (groups.end, groups.sequence) == (ENDS[whole], 7 + whole)


@pytest.mark.parametrize("rest", [b"\x00", b"\xff"], ids=["zeros", "ones"])
def test_a_last_group_of_which_a_part_was_written_is_left_out(rest: bytes) -> None:
    for size in range(ENDS[2], len(WHOLE)):
        torn = WHOLE[:size].ljust(len(WHOLE) + 100, rest)
        assert form.parse_journal(torn).end == ENDS[2], size


def test_a_changed_bit_in_the_last_group_takes_the_whole_group_away() -> None:
    for bit in range(8 * ENDS[2], 8 * len(WHOLE)):
        assert form.parse_journal(flip(WHOLE, bit)).end == ENDS[2], bit


def test_a_changed_bit_before_the_last_group_is_damage() -> None:
    for bit in range(8 * form.HEAD_BYTES, 8 * ENDS[2]):
        with pytest.raises(form.DamagedError, match=r"damaged at byte \d+, and good again"):
            form.parse_journal(flip(WHOLE, bit))


def test_a_changed_bit_in_the_head_is_damage() -> None:
    for bit in range(8 * form.HEAD_BYTES):
        with pytest.raises(form.DamagedError, match=r"^(damaged: |of format )"):
            form.parse_journal(flip(WHOLE, bit))


def test_a_group_that_was_taken_out_is_damage() -> None:
    for at, end in ((ENDS[0], ENDS[1]), (ENDS[1], ENDS[2])):
        with pytest.raises(form.DamagedError, match=f"damaged at byte {at}"):
            form.parse_journal(WHOLE[:at] + WHOLE[end:])


def test_a_group_that_comes_twice_is_damage() -> None:
    with pytest.raises(form.DamagedError, match="damaged at byte"):
        form.parse_journal(WHOLE + WHOLE[ENDS[0] : ENDS[1]])


def test_groups_of_another_journal_at_the_end_are_never_taken_for_ours() -> None:
    other = journal_of([[b"x"]] * 5, form.Head(9, b"marker-2"))
    groups = form.parse_journal(WHOLE + other[form.HEAD_BYTES :])
    assert groups.end == len(WHOLE)


def test_a_record_that_looks_like_a_group_is_only_a_record() -> None:
    forged = form.pack_group(b"a-guess.", 12, [b"forged"])
    journal = journal_of([[b"one"], [forged]])
    assert form.parse_journal(journal).records == [b"one", forged]
    assert form.parse_journal(journal[:-1]).records == [b"one"]


def test_what_a_length_promises_beyond_the_end_is_not_read() -> None:
    marker, size = HEAD.marker, (2**32 - 1).to_bytes(4, "big")
    head = marker + (8).to_bytes(8, "big") + size
    checksum = hashlib.blake2b(head + b"x", digest_size=8).digest()
    journal = journal_of([]) + head + checksum + b"x"
    assert form.parse_journal(journal).end == form.HEAD_BYTES


@pytest.mark.parametrize("version", [0, 2])
def test_another_format_is_named(version: int) -> None:
    changed = bytearray(WHOLE)
    changed[8:12] = version.to_bytes(4, "big")
    with pytest.raises(form.DamagedError, match=f"of format {version}, which this version"):
        form.parse_journal(bytes(changed))


def snapshot_of(records: list[bytes]) -> bytes:
    return form.pack_head(form.SNAPSHOT_MAGIC, HEAD) + form.pack_group(
        HEAD.marker, HEAD.sequence, records
    )


@pytest.mark.parametrize("records", [[], [b""], [b"one", b"", bytes(range(256))]])
def test_a_snapshot_gives_its_records(records: list[bytes]) -> None:
    groups = form.parse_snapshot(snapshot_of(records))
    assert (groups.records, groups.sequence) == (records, 7)


def test_a_snapshot_is_whole_or_damaged() -> None:
    snapshot = snapshot_of([b"one", b"two"])
    broken = [snapshot[:size] for size in range(len(snapshot))]
    broken += [flip(snapshot, bit) for bit in range(8 * len(snapshot))]
    broken += [snapshot + b"\0", WHOLE]
    for data in broken:
        with pytest.raises(form.DamagedError):
            form.parse_snapshot(data)


def test_a_record_may_have_the_greatest_size_and_no_more() -> None:
    form.pack_group(HEAD.marker, 1, [bytes(MAX_JOURNAL_RECORD_BYTES)])
    with pytest.raises(LocalProtocolError, match="record of"):
        form.pack_group(HEAD.marker, 1, [bytes(MAX_JOURNAL_RECORD_BYTES + 1)])


def test_a_group_has_a_greatest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_GROUP_BYTES", 20)
    form.pack_group(HEAD.marker, 1, [bytes(8), bytes(4)])
    with pytest.raises(LocalProtocolError, match="at once"):
        form.pack_group(HEAD.marker, 1, [bytes(8), bytes(5)])


# The tables and the worked example of docs/decisions/0016-journal.md.

PAGE = (Path(__file__).parents[3] / "docs/decisions/0016-journal.md").read_text(encoding="utf-8")


def table(title: str) -> dict[str, str]:
    """Field -> size, of the table below a heading."""
    section = PAGE.partition(f"**{title}")[2].partition("\n\n**")[0]
    return dict(re.findall(r"^\| ([a-z ]+) \| ([^|]+) \|", section, re.MULTILINE)[1:])


def test_the_tables_add_up_to_what_is_written() -> None:
    head = {field: int(size) for field, size in table("Head").items()}
    assert sum(head.values()) == form.HEAD_BYTES == len(form.pack_head(form.JOURNAL_MAGIC, HEAD))
    group = {field: int(size) for field, size in table("Group").items() if size.isdigit()}
    assert sum(group.values()) == form.GROUP_HEAD_BYTES


def test_the_worked_example_is_what_is_written() -> None:
    example = PAGE.partition("```\n")[2].partition("```")[0]
    written = bytes.fromhex("".join(re.findall(r"^((?:[0-9a-f]{2} ?)+) ", example, re.MULTILINE)))
    head = form.Head(0, bytes(range(8)))
    assert written == journal_of([[b"hi", b""]], head)

"""docs/state.md says what the code does: names, limits, intervals."""

from __future__ import annotations

import re

from meshnet.aio.channel import MAX_CHANGES_BEHIND
from meshnet.crdt.base import MAX_VALUE_BYTES as MAX_USERS_VALUE_BYTES
from meshnet.engine import KEEP_INTERVAL_S
from meshnet.errors import DropReason
from meshnet.gossip import channels, fragments, replica
from meshnet.gossip.tree import ENTRY_BYTES
from meshnet.peering.own_state import FLUSH_DELAY_S
from meshnet.topology.records import TOPOLOGY
from support.channels import ALL_TYPES
from support.tree import ROOT

PAGE = (ROOT / "docs/state.md").read_text(encoding="utf-8")
FLAT = " ".join(PAGE.split())
MIB = 1024 * 1024


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}")[1].split("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    return [[cell.strip(" |") for cell in row] for row in found[1:]]


def test_the_table_has_every_channel_and_type() -> None:
    table = rows("1 ")
    assert [row[:2] for row in table] == [
        [f"`{TOPOLOGY.name}`", f"`{TOPOLOGY.type}`"],
        *(["any other name", f"`{kind.name}`"] for kind in ALL_TYPES),
    ]
    assert {len(row) for row in table} == {5}


def test_limits_are_those_of_the_code() -> None:
    limits = {row[0]: row[1] for row in rows("4 ")}
    assert limits == {
        "name of a channel": f"{fragments.MAX_CHANNEL_NAME_BYTES} bytes",
        "name of a type": f"{fragments.MAX_TYPE_NAME_BYTES} bytes",
        "key of an entry": f"{fragments.MAX_KEY_BYTES} bytes",
        "value of an entry": (
            f"{fragments.MAX_VALUE_BYTES} bytes; a user's value {MAX_USERS_VALUE_BYTES}"
        ),
        f"one writer's part of a channel, {ENTRY_BYTES} bytes for each entry included": (
            f"{fragments.MAX_FRAGMENT_BYTES // MIB} MiB"
        ),
        "channels a peer holds": str(replica.MAX_CHANNELS),
        "fragments a peer holds": str(replica.MAX_FRAGMENTS),
        "bytes of them together": f"{replica.MAX_TOTAL_BYTES // MIB} MiB",
    }


def test_times_and_slices_are_those_of_the_code() -> None:
    for text in (
        f"within {FLUSH_DELAY_S * 1000:.0f} ms of each other",
        f"slices of {channels.SLICE_ENTRIES} entries",
        f"first {channels.OPEN_ENTRIES} entries",
        f"is {MAX_CHANGES_BEHIND} changes behind",
        f"{KEEP_INTERVAL_S:.0f} s after it came at the latest",
        f"at most every {channels.REFOLD_INTERVAL_S:.0f} s for each channel",
    ):
        assert text in FLAT, text


def test_our_part_is_looked_through_when_it_has_doubled() -> None:
    assert "whenever it has doubled" in FLAT
    assert channels.SETTLE_FACTOR == 2


def test_drop_reasons_it_names_exist() -> None:
    named = set(re.findall(r"\(`([a-z_]+)`\)", PAGE))
    assert named == {DropReason.BAD_ENTRY.value, DropReason.STATE_FULL.value}

"""What is held for writers that start over is bounded: a member may do so without end."""

from __future__ import annotations

import pytest

from meshnet.gossip import superseded
from meshnet.gossip.superseded import Superseded
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId
from support.channels import fragment_by
from support.samples import ALICE, identity

CHANNEL = ChannelId("one", "or-set")


def test_the_latest_of_each_writer_is_held() -> None:
    held = Superseded()
    for sequence in (1, 2):
        tree = Tree.of([(b"key", b"%d" % sequence)])
        fragment = fragment_by(ALICE, CHANNEL, tree, sequence)
        held.hold((CHANNEL, ALICE.name), fragment)
        assert held.get((CHANNEL, ALICE.name)) is fragment
    assert len(held) == 1


@pytest.mark.parametrize(("number", "size_bytes"), [(3, 10**9), (10**9, 3 * 100)])
def test_the_oldest_go_when_there_are_too_many_or_too_large(
    monkeypatch: pytest.MonkeyPatch, number: int, size_bytes: int
) -> None:
    monkeypatch.setattr(superseded, "MAX_SUPERSEDED", number)
    monkeypatch.setattr(superseded, "MAX_SUPERSEDED_BYTES", size_bytes)
    held, writers = Superseded(), [identity(n) for n in range(50, 60)]
    for who in writers:
        tree = Tree.of([(b"key", bytes(100 - 64 - 3))])
        assert tree.size_bytes == 100
        held.hold((CHANNEL, who.name), fragment_by(who, CHANNEL, tree, 1))
    assert [held.get((CHANNEL, who.name)) is not None for who in writers] == [False] * 7 + [
        True
    ] * 3


def test_one_that_is_larger_than_all_may_be_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superseded, "MAX_SUPERSEDED_BYTES", 10)
    held = Superseded()
    held.hold((CHANNEL, ALICE.name), fragment_by(ALICE, CHANNEL, Tree.of([(b"k", b"")]), 1))
    assert len(held) == 0

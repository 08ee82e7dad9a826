"""Channels of real meshes on loopback: no TAP, no root; durable before they are acknowledged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio import channel as channel_module
from meshnet.crdt import Counter, ElementChange, Lattice, LwwMap, OrSet
from meshnet.crdt.base import MAX_VALUE_BYTES
from meshnet.errors import ConfigError, LocalProtocolError, StateError
from meshnet.store.state import FileState
from meshnet.testing import MemoryJournal, MemoryState
from support import channel_writer
from support.tree import ROOT

PSK = bytes(32)
KILL_FOR_S = 12


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def mesh(*peers: Mesh, state: Any = None, **settings: Any) -> Mesh:
    addresses = [peer.address for peer in peers]
    return Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=addresses, **settings), state=state)


class SlowJournal(MemoryJournal):
    """A disk that takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.asked = threading.Event()

    def append(self, records: Sequence[bytes]) -> None:
        self.asked.set()
        assert self.may_go_on.wait(20)
        super().append(records)


def test_what_one_writes_all_see_and_are_told() -> None:
    async def test() -> None:
        async with mesh() as a, mesh(a) as b, mesh(a) as c:
            sets = [peer.channel("names", OrSet) for peer in (a, b, c)]
            told: Any = sets[2].changes()
            await sets[0].update(OrSet.add, "from a")
            await sets[1].update(OrSet.add, "from b")
            await until(lambda: all(set(one.value) == {"from a", "from b"} for one in sets))
            await sets[2].update(OrSet.remove, "from a")
            await until(lambda: all(set(one.value) == {"from b"} for one in sets))
            changes = [await anext(told) for _ in range(3)]
            assert changes[-1] == ElementChange("from a", False)
            assert {change.element for change in changes[:2]} == {"from a", "from b"}
            rows = [peer.report()["channels"] for peer in (a, b, c)]
            found = [row for row in rows[0] if row["name"] == "names"]
            # Two that were added, and what c has removed.
            assert [(row["type"], row["entries"]) for row in found] == [("or-set", 3)]
            await until(lambda: a.report()["channels"] == b.report()["channels"])

    run(test)


def test_the_largest_value_arrives() -> None:
    async def test() -> None:
        async with mesh() as a, mesh(a) as b:
            one, other = a.channel("large", LwwMap), b.channel("large", LwwMap)
            await a.wait_connected()
            await one.update(LwwMap.put, "k" * 254, bytes(MAX_VALUE_BYTES))
            await until(lambda: other.value.get("k" * 254) == bytes(MAX_VALUE_BYTES))
            with pytest.raises(ValueError, match="value of"):
                await one.update(LwwMap.put, "k", bytes(MAX_VALUE_BYTES + 1))

    run(test)


def test_one_name_and_two_types_are_two_channels() -> None:
    async def test() -> None:
        async with mesh() as a, mesh(a) as b:
            await a.channel("same", OrSet).update(OrSet.add, "element")
            other = b.channel("same", Counter)
            await other.update(Counter.add, 7)
            await until(lambda: b.channel("same", OrSet).value.__contains__("element"))
            assert other.value.value == 7
            assert a.channel("same", OrSet) is a.channel("same", OrSet)
            with pytest.raises(ConfigError, match="mesh's own"):
                a.channel("topology", OrSet)

    run(test)


def test_a_type_s_name_is_asked_for_by_its_own_name() -> None:
    class Named(Counter):
        name = "x" * 33

    async def test() -> None:
        async with mesh() as a:
            with pytest.raises(ConfigError, match="NoName has no name; give the class"):
                a.channel("c", type("NoName", (Lattice,), {}))
            with pytest.raises(ConfigError, match=r"Named\.name 'x+': at most 32 bytes"):
                a.channel("c", Named)
            with pytest.raises(ConfigError, match=r"channel name 'x+': at most 64 bytes"):
                a.channel("x" * 65, Counter)
            with pytest.raises(ConfigError, match="channel name is empty"):
                a.channel("", Counter)
            with pytest.raises(ConfigError, match="channel name 5 is no text: give a str"):
                a.channel(5, Counter)  # type: ignore[arg-type]

    run(test)


def test_a_peer_that_does_not_open_a_channel_passes_it_on() -> None:
    async def test() -> None:
        # A line: only the middle is told of both, and nobody dials on their own.
        async with (
            mesh(discovery=False) as a,
            mesh(a, discovery=False) as middle,
            mesh(middle, discovery=False) as c,
        ):
            one, other = a.channel("far", OrSet), c.channel("far", OrSet)
            await one.update(OrSet.add, "over the middle")
            await until(lambda: "over the middle" in other.value)
            await other.update(OrSet.add, "and back")
            await until(lambda: "and back" in one.value)
            links = a.report()["connections"]
            assert [row["path"] for row in links if row["peer"] == str(c.name)] != ["direct"]
            [row] = [row for row in middle.report()["channels"] if row["name"] == "far"]
            assert row["entries"] == 2

    run(test)


def test_an_update_returns_when_it_is_on_disk_and_not_before() -> None:
    async def test() -> None:
        state = MemoryState()
        state.journal = journal = SlowJournal()
        async with mesh(state=state) as a, mesh(a) as b:
            names, others = a.channel("names", OrSet), b.channel("names", OrSet)
            await a.wait_connected()
            update = asyncio.create_task(names.update(OrSet.add, "www"))
            await until(journal.asked.is_set)
            assert "www" in names.value, "it counts at once here"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(update), 0.2)
            assert "www" not in others.value, "told before it was kept"
            assert journal.records() == []
            journal.may_go_on.set()
            await update
            assert journal.records()
            await until(lambda: "www" in others.value)

    run(test)


def test_a_disk_that_refuses_undoes_what_waits_and_takes_what_comes_later() -> None:
    async def test() -> None:
        state = MemoryState()
        async with mesh(state=state) as a, mesh(a) as b:
            names, others = a.channel("names", OrSet), b.channel("names", OrSet)
            await names.update(OrSet.add, "kept")
            told: Any = names.changes()
            state.journal.disk_full = True
            for _ in range(3):
                refused = await asyncio.gather(
                    *(names.update(OrSet.add, f"lost {n}") for n in range(5)),
                    return_exceptions=True,
                )
                assert [type(error) for error in refused] == [StateError] * 5
                assert "No space left" in str(refused[0])
                assert set(names.value) == {"kept"}
            state.journal.disk_full = False
            await names.update(OrSet.add, "later")
            assert set(names.value) == {"kept", "later"}
            await until(lambda: set(others.value) == {"kept", "later"})
            changes = [await anext(told) for _ in range(31)]
            assert changes[-1] == ElementChange("later", True)
            assert sum(1 if change.present else -1 for change in changes) == 1

    run(test)


def test_all_that_was_acknowledged_is_there_after_a_restart() -> None:
    async def test() -> None:
        state = MemoryState()
        async with mesh(state=state) as a:
            names = a.channel("names", OrSet)
            await asyncio.gather(*(names.update(OrSet.add, f"{n}") for n in range(200)))
            await names.update(OrSet.remove, "7")
        async with mesh(state=state.next_life()) as a:
            assert set(a.channel("names", OrSet).value) == {f"{n}" for n in range(200)} - {"7"}

    run(test)


def test_what_others_wrote_is_kept_when_a_mesh_ends() -> None:
    async def test() -> None:
        state = MemoryState()
        async with mesh(state=state) as keeps, mesh(keeps) as writes:
            await writes.channel("names", OrSet).update(OrSet.add, "theirs")
            kept = keeps.channel("names", OrSet)
            await until(lambda: "theirs" in kept.value)
        async with mesh(state=state.next_life()) as alone:
            assert set(alone.channel("names", OrSet).value) == {"theirs"}

    run(test)


def test_a_reader_that_is_too_slow_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_CHANGES_BEHIND", 10)

    async def test() -> None:
        async with mesh() as a:
            hits = a.channel("hits", Counter)
            slow, quick = hits.changes(), hits.changes()
            seen = []
            for _ in range(15):
                await hits.update(Counter.add, 1)
                seen.append((await anext(quick)).after)
            assert seen == list(range(1, 16))
            # Not some of the changes first, as if they were all.
            with pytest.raises(LocalProtocolError, match="read the value anew"):
                await anext(slow)

    run(test)


def test_a_mesh_that_ends_ends_streams_and_refuses_updates() -> None:
    async def test() -> None:
        state = MemoryState()
        state.journal = journal = SlowJournal()
        async with mesh(state=state) as a:
            hits = a.channel("hits", Counter)
            changes = hits.changes()
            update = asyncio.create_task(hits.update(Counter.add, 1))
            await until(journal.asked.is_set)
            journal.may_go_on.set()
        await update  # What was under way was written first.
        assert [change.after async for change in changes] == [1]
        assert [change async for change in hits.changes()] == []
        with pytest.raises(LocalProtocolError, match="has ended"):
            await hits.update(Counter.add, 1)
        with pytest.raises(LocalProtocolError, match="not started"):
            a.channel("hits", Counter)

    run(test)


# Kills.


def found(directory: Path) -> set[str]:
    """The elements that a new life finds."""
    elements: set[str] = set()

    async def test() -> None:
        state = FileState(directory)
        try:
            async with mesh(state=state) as a:
                channel = a.channel(channel_writer.CHANNEL, OrSet)
                await until(lambda: not channel.is_behind)
                elements.update(channel.value)
        finally:
            state.close()

    run(test)
    return elements


def test_nothing_acknowledged_is_lost_by_kills_at_any_moment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, channel_writer.__file__, str(tmp_path / "state"), str(KILL_FOR_S), "1"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stderr
    kills, acknowledged = map(int, done.stdout.split())
    assert kills >= 10
    assert acknowledged >= kills
    assert len(found(tmp_path / "state")) >= acknowledged


def test_a_journal_whose_last_record_is_torn_has_all_the_others(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    sizes: list[int] = []

    async def test() -> None:
        state = FileState(directory)
        async with mesh(state=state) as a:
            channel = a.channel(channel_writer.CHANNEL, OrSet)
            for number in range(20):
                await channel.update(OrSet.add, f"{number}")
                sizes.append((directory / "journal").stat().st_size)
        state.close()

    run(test)
    assert sizes == sorted(set(sizes)), "each update was on disk when it returned"
    # As a crash in the middle of the last write leaves it.
    with (directory / "journal").open("r+b") as journal:
        journal.truncate(sizes[-1] - 5)
    assert found(directory) == {f"{number}" for number in range(19)}

"""Addresses given while a peer runs are dialled by its next life, until they are forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.errors import StateError
from meshnet.store.state import FileState


def given(mesh: Mesh) -> set[str]:
    return {row["address"] for row in mesh.targets() if row["given"]}


def test_targets_survive_a_restart(tmp_path: Path) -> None:
    async def life(*, connect: str = "", forget: str = "", peers: tuple[str, ...] = ()) -> set[str]:
        state = FileState(tmp_path)
        try:
            config = MeshConfig(listen="127.0.0.1:0", peers=peers)
            async with Mesh(config, state=state) as mesh:
                before = given(mesh)
                if connect:
                    mesh.connect(connect)
                if forget:
                    assert mesh.forget(forget)
                return before
        finally:
            state.close()

    async def test() -> None:
        assert await life(connect="127.0.0.9") == set()
        assert await life(connect="127.0.0.10:7000") == {"127.0.0.9:6783"}
        assert await life(forget="127.0.0.9") == {"127.0.0.9:6783", "127.0.0.10:7000"}
        # What the configuration names is its own affair: it is not kept beyond it.
        again = await life(connect="127.0.0.11", peers=("127.0.0.11",))
        assert again == {"127.0.0.10:7000", "127.0.0.11:6783"}
        assert await life() == {"127.0.0.10:7000"}

    asyncio.run(asyncio.wait_for(test(), 30))


def test_what_is_forgotten_is_not_kept_though_the_configuration_names_it_too(
    tmp_path: Path,
) -> None:
    alone = MeshConfig(listen="127.0.0.1:0")
    both = MeshConfig(listen="127.0.0.1:0", peers=["127.0.0.9", "127.0.0.10"])

    async def test() -> None:
        state = FileState(tmp_path)
        async with Mesh(alone, state=state) as mesh:
            mesh.connect("127.0.0.9")
            mesh.connect("127.0.0.10")
            await mesh.reload(both)
            assert mesh.forget("127.0.0.9")
            await mesh.reload(alone)  # Peers left out are forgotten, as by `forget`.
            assert given(mesh) == set()
        state.close()
        again = FileState(tmp_path)
        assert again.targets == ()
        again.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_kept_target_that_is_no_address_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        state = FileState(tmp_path)
        state.keep_targets(["a b:6783", "127.0.0.9:6783"])
        async with Mesh(MeshConfig(listen="127.0.0.1:0"), state=state) as mesh:
            assert given(mesh) == {"127.0.0.9:6783"}
        assert state.targets == ("127.0.0.9:6783",)
        state.close()

    asyncio.run(asyncio.wait_for(test(), 30))
    [record] = [record for record in caplog.records if record.msg == "kept target dropped"]
    assert "'a b' is not a host name" in vars(record)["reason"]


def test_a_slow_disk_holds_up_nothing_and_gets_the_newest_last(tmp_path: Path) -> None:
    writes: list[list[str]] = []

    class SlowState(FileState):
        def keep_targets(self, targets: Sequence[str]) -> None:
            time.sleep(0.05)
            writes.append(list(targets))
            super().keep_targets(targets)

    async def test() -> None:
        state = SlowState(tmp_path)
        async with Mesh(MeshConfig(listen="127.0.0.1:0"), state=state) as mesh:
            for number in range(1, 101):
                mesh.connect(f"127.0.9.{number}")
            mesh.forget("127.0.9.7")
            assert writes == [], "the loop does not wait for the disk"
            await mesh.targets_kept()
            assert len(state.targets) == 99
            mesh.connect("127.0.9.7")
        assert len(state.targets) == 100, "a stop waits for it"
        assert len(writes) <= 4
        state.close()

    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nonsense"])
def test_damaged_targets_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    FileState(tmp_path).close()
    (tmp_path / "targets.json").write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match=r"targets\.json is damaged; restore it, or remove it$"):
        FileState(tmp_path)

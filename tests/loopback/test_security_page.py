"""SECURITY.md says what the code does: limits, names, modes of files."""

from __future__ import annotations

import asyncio
import importlib
import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from meshnet import Mesh, MeshConfig
from meshnet.cli.commands import cli
from meshnet.crdt import Counter
from meshnet.errors import DropReason
from meshnet.node.api import bind_unix
from meshnet.node.options import parse_options
from meshnet.store.state import FileState
from meshnet.wire.key_life import REJECT_AFTER_S, REKEY_AFTER_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]
LIMITS = [row for row in ROWS if len(row) == 4 and row[2].startswith("`meshnet.")]


@pytest.mark.parametrize("row", LIMITS, ids=[row[2].strip("`") for row in LIMITS])
def test_limits_are_those_of_the_code(row: list[str]) -> None:
    module, _, name = row[2].strip("`").rpartition(".")
    assert float(row[1]) == getattr(importlib.import_module(module), name)
    if row[3]:
        assert row[3].strip("`") in {reason.value for reason in DropReason}


def test_both_tables_of_limits_are_there() -> None:
    heads = [row for row in ROWS if row[2:3] == ["constant"]]
    assert len(heads) == 2
    assert len(LIMITS) > 20


def test_ages_of_keys_are_those_of_the_code() -> None:
    [row] = [row for row in ROWS if row[0] == "keys of a link"]
    assert row[3] == f"renewed at {REKEY_AFTER_S:.0f} s, refused at {REJECT_AFTER_S:.0f} s"


def test_options_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--help"], {})
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    named = set(re.findall(r"`(--[a-z][a-z-]*)`", PAGE))
    assert named
    assert named <= known


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        text = (ROOT / path).read_text(encoding="utf-8") if path else PAGE
        headings = re.findall(r"^#+ (.*)$", text, re.M)
        assert not anchor or anchor in {head.lower().replace(" ", "-") for head in headings}


def modes_told() -> dict[str, int]:
    files = [row for row in ROWS if len(row) == 3 and re.fullmatch(r"0\d{3}", row[1])]
    return {name.strip("` "): int(row[1], 8) for row in files for name in row[0].split(",")}


def test_files_have_the_modes_that_are_told(tmp_path: Path) -> None:
    directory = tmp_path / "state"

    async def live() -> None:
        state = FileState(directory)
        config = MeshConfig(listen="127.0.0.1:0", psk=bytes(32))
        async with Mesh(config, state=state) as mesh:
            channel = mesh.channel("clicks", Counter)
            await channel.update(Counter.add, 1)
        state.journal.compact([])
        state.keep_targets(["192.0.2.1:6783"])
        state.keep_absent_s({"0f" * 16: 1.0})
        state.close()

    asyncio.run(asyncio.wait_for(live(), 30))
    socket_path = tmp_path / "api" / "meshnet.sock"
    bind_unix(socket_path).close()
    found = {path.name: path for path in directory.iterdir()}
    found |= {"state directory": directory, "API socket": socket_path}
    assert {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()} == modes_told()
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o755
    key = tmp_path / "key"
    assert CliRunner().invoke(cli, ["genkey", str(key)]).exit_code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600

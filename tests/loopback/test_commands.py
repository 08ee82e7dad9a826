"""The commands that steer a node, run as users run them; docs/commands.md is run as it stands."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import meshnet.__main__  # noqa: F401  (adds the commands of the other edges)
from meshnet import Mesh
from meshnet.cli.commands import cli
from meshnet.node.options import _parser
from support.docs_examples import COMMANDS, examples, first_words
from support.served import environment, run_meshnet, served_mesh

NAMES = ["host-1", "host-2", "host-3"]


def with_mesh(tmp_path: Path, test: Callable[[Path, list[Mesh]], Awaitable[None]]) -> None:
    api = tmp_path / "api.sock"

    async def run() -> None:
        async with served_mesh(api, NAMES) as meshes:
            await test(api, meshes)

    asyncio.run(asyncio.wait_for(run(), 60))


# Steering.


def test_connect_and_forget_are_undone_by_each_other(tmp_path: Path) -> None:
    async def test(api: Path, _: list[Mesh]) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{bound.getsockname()[1]}"
            done = await run_meshnet(api, "connect", address, "--json")
            assert json.loads(done.stdout) == {"connecting": [address]}
            targets = json.loads((await run_meshnet(api, "targets", "--json")).stdout)
            assert [row["address"] for row in targets if row["given"]] == [address]
            done = await run_meshnet(api, "forget", address, "--json")
            assert json.loads(done.stdout) == {"forgotten": [address]}
            done = await run_meshnet(api, "forget", address)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(f"meshnet: no such target: {address}; `meshnet targets`")

    with_mesh(tmp_path, test)


def test_of_several_addresses_all_are_taken_or_none(tmp_path: Path) -> None:
    async def test(api: Path, meshes: list[Mesh]) -> None:
        done = await run_meshnet(api, "connect", "192.0.2.1", "host..example")
        assert done.returncode == 1
        assert "not a host name" in done.stderr
        assert [row for row in meshes[0].targets() if row["given"]] == []
        await run_meshnet(api, "connect", "127.0.0.1:1")
        done = await run_meshnet(api, "forget", "127.0.0.1:1", "127.0.0.1:2")
        assert done.returncode == 1
        assert done.stderr.startswith(
            "meshnet: nothing was forgotten: no such target: 127.0.0.1:2; "
        )
        assert [row["address"] for row in meshes[0].targets() if row["given"]] == ["127.0.0.1:1"]

    with_mesh(tmp_path, test)


def test_rmpeer_removes_who_is_gone_by_any_of_its_names(tmp_path: Path) -> None:
    async def test(api: Path, meshes: list[Mesh]) -> None:
        first, second, third = meshes
        gone, name = third.name, str(third.name)
        for refused in ("host-3", name, name[:8]):
            done = await run_meshnet(api, "rmpeer", refused)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.endswith("host-3 is not gone; stop it first\n")
        await third.__aexit__(None, None, None)
        while not all(row["gone"] for row in first.report()["peers"] if row["name"] == name):
            await asyncio.sleep(0.01)
        shown = (await run_meshnet(api, "peers")).stdout
        assert re.search(r"host-3 +no +stopped \d+ s ago, forgotten in 1[34] d", shown)
        assert "3 known, us included; 1 gone" in (await run_meshnet(api, "status")).stdout
        both = await run_meshnet(api, "rmpeer", "host-3", "host-2")
        assert (both.returncode, both.stdout) == (1, "")
        assert both.stderr == "meshnet: nothing was removed: host-2 is not gone; stop it first\n"
        assert first.find_peers(name) == [gone]
        done = await run_meshnet(api, "rmpeer", "host-3", "--json")
        [row] = json.loads(done.stdout)["removed"]
        assert (row["name"], row["nickname"]) == (name, "host-3")
        assert row["entries"] >= 1
        while any(mesh.find_peers(name) for mesh in (first, second)):
            await asyncio.sleep(0.01)
        again = await run_meshnet(api, "rmpeer", name)
        assert (again.returncode, again.stdout) == (0, f"{name}: nothing is held of it\n")
        unknown = await run_meshnet(api, "rmpeer", "host-3")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "no other peer 'host-3'" in unknown.stderr
        ours = await run_meshnet(api, "rmpeer", "host-1")
        assert "'host-1' is this node itself; leave for good by `meshnet reset`" in ours.stderr

    with_mesh(tmp_path, test)


@pytest.mark.parametrize("command", ["connect", "forget", "explain", "rmpeer"])
def test_what_needs_a_name_is_wrong_usage_without_one(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshnet", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("given", [["--api", "/x", "status"], ["lab", "--hosts", "2", "run"]])
def test_an_option_before_its_command_is_told_where_it_stands(given: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshnet", *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Options of a command stand after it. (see --help)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_help_says_how_a_node_is_picked() -> None:
    assert "--api PATH" in CliRunner().invoke(cli, ["--help"]).output


def test_explain_takes_a_peer_or_an_address_being_dialled(tmp_path: Path) -> None:
    async def test(api: Path, meshes: list[Mesh]) -> None:
        by_name = json.loads((await run_meshnet(api, "explain", "host-2", "--json")).stdout)
        assert by_name["peer"] == str(meshes[1].name)
        assert [row["cause"] for row in by_name["causes"]] == ["direct"]
        meshes[0].connect("127.0.0.1:1")
        by_address = json.loads((await run_meshnet(api, "explain", "127.0.0.1:1", "--json")).stdout)
        assert by_address["peer"] == ""
        assert by_address["causes"][0]["cause"] in ("dialling", "dial_failed")
        unknown = await run_meshnet(api, "explain", "nobody")
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "no other peer and no target 'nobody'" in unknown.stderr
        for command in ("explain", "ping"):
            for ours in ("host-1", str(meshes[0].name), meshes[0].name.short):
                done = await run_meshnet(api, command, ours)
                assert (done.returncode, done.stdout) == (1, "")
                assert "is this node itself; `meshnet status`" in done.stderr
        unknown = await run_meshnet(api, "ping", "10.32.0.2")
        assert "no other peer '10.32.0.2'; give a nickname or name" in unknown.stderr

    with_mesh(tmp_path, test)


# Watching.


def test_watching_ends_with_ctrl_c_and_status_0(tmp_path: Path) -> None:
    async def test(api: Path, _: list[Mesh]) -> None:
        def watch() -> tuple[int, list[str], str]:
            with subprocess.Popen(
                [sys.executable, "-m", "meshnet", "peers", "--watch", "0.1", "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment(api),
            ) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline() for _ in range(3)]
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=10)
                return process.returncode, lines, err

        status, lines, err = await asyncio.to_thread(watch)
        assert (status, err) == (0, "")
        assert [len(json.loads(line)) for line in lines] == [3, 3, 3]

    with_mesh(tmp_path, test)


def on_a_terminal(api: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """A command whose terminal is ours: what it shows is read from the descriptor."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshnet", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment(api), "TERM": "xterm"},
    )
    os.close(theirs)
    return process, ours


def test_a_terminal_is_given_back_as_it_was(tmp_path: Path) -> None:
    """The view takes the alternate screen (xterm: 1049) and leaves it."""

    async def test(api: Path, _: list[Mesh]) -> None:
        process, ours = on_a_terminal(api, "connections", "--watch")

        def read_until(text: bytes) -> bytes:
            said = b""
            while text not in said:
                said += os.read(ours, 65536)
            return said

        said = await asyncio.to_thread(read_until, b"host-3")
        assert b"\x1b[?1049h" in said
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(read_until, b"\x1b[?1049l")
        assert await asyncio.to_thread(process.wait, 10) == 0
        os.close(ours)

    with_mesh(tmp_path, test)


@pytest.mark.parametrize("seconds", ["0", "x", "nan"])
@pytest.mark.parametrize("command", [["status", "--watch"], ["ping", "host-2", "--timeout"]])
def test_a_bad_interval_is_wrong_usage(command: list[str], seconds: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshnet", *command, seconds],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


# docs/commands.md.


# The others need root and a device: tests/netns/test_netns_docs.py runs them.
LOOPBACK = [example for example in examples() if not example.command.startswith("meshnet lab ")]


def test_each_example_shows_what_happens(tmp_path: Path) -> None:
    async def test(api: Path, meshes: list[Mesh]) -> None:
        meshes[0].connect("127.0.0.9")
        while not [row for row in meshes[0].targets() if row["given"] and row["reason"]]:
            await asyncio.sleep(0.01)
        assert len(LOOPBACK) >= 10
        for example in LOOPBACK:
            # Of TEST-NET (RFC 5737) in the docs, of this host here.
            arguments = example.command.replace("192.0.2.", "127.0.0.").split()[1:]
            done = await (watched if "--watch" in arguments else run_meshnet)(api, *arguments)
            assert done.returncode == example.status, (example, done)
            said = (done.stdout if example.status == 0 else done.stderr).splitlines()
            shown = first_words(example.output)
            assert first_words(said)[: len(shown)] == shown, (example, said)

    with_mesh(tmp_path, test)


async def watched(api: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that goes on until it is interrupted, which it is after its first line."""

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "meshnet", *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment(api)
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=10)
            return subprocess.CompletedProcess(command, process.returncode, first + rest, "")

    return await asyncio.to_thread(run)


def all_commands() -> dict[str, set[str]]:
    """Each command's name, and its long options."""
    found: dict[str, set[str]] = {}
    for name, command in cli.commands.items():
        for inner, leaf in getattr(command, "commands", {"": command}).items():
            options = {o for p in leaf.params for o in p.opts if o.startswith("--")}
            found[f"{name} {inner}".strip()] = options
    return found


def sections() -> dict[str, str]:
    """The text of each command's section, by name: what is written small is the name."""
    found = re.split(r"^## `meshnet ([a-z ]+?)(?: [A-Z].*)?`$", COMMANDS, flags=re.M)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def test_each_command_has_its_section_and_an_example() -> None:
    assert set(sections()) == set(all_commands())
    for name, text in sections().items():
        assert f"$ meshnet {name}" in text, name


def test_each_option_of_a_command_is_in_its_section() -> None:
    common = {"--api", "--json", "--watch"}
    for name, options in all_commands().items():
        for option in options - common:
            assert f"`{option}" in sections()[name], f"{name} {option}"
    for option in common:
        assert f"`{option}" in COMMANDS.split("## ")[0]


def test_each_option_of_the_node_is_in_its_table() -> None:
    parser = _parser()
    table = COMMANDS.split("## `python -m meshnet.node")[1]
    rows = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    shown = re.findall(r"`(--[a-z-]+)", " ".join(rows))
    assert len(shown) == len(set(shown))
    assert set(shown) == {o for a in parser._actions for o in a.option_strings if o[:2] == "--"}

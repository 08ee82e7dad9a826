"""The commands of `meshnet` against live nodes, run as users run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import meshnet as package
from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import json_of, meshnet, one_line, report_of

ASKING = ("status", "peers", "connections", "targets", "report")


@pytest.fixture
def here(mesh: LabMesh) -> LabHost:
    """The host whose node is asked."""
    return mesh.hosts[0]


def ask(host: LabHost, *arguments: str) -> str:
    done = meshnet(*arguments, "--api", host.api)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_status_names_the_peer_its_network_and_what_works(here: LabHost) -> None:
    shown = ask(here, "status")
    report = report_of(here)
    for text in (report["name"], "h1", "meshnet", "password", "mesh0", "1376", "2 established"):
        assert text in shown
    assert "OPEN" not in shown


def test_peers_lists_all_with_us_marked(mesh: LabMesh, here: LabHost) -> None:
    rows = ask(here, "peers").splitlines()[1:]
    assert len(rows) == 3
    for host in mesh.hosts:
        [row] = [row for row in rows if report_of(host)["name"] in row]
        assert host.nickname in row
        assert "yes" in row
        assert ("(us)" in row) is (host is here)


def test_connections_shows_state_path_and_cipher_of_each(here: LabHost) -> None:
    rows = ask(here, "connections").splitlines()[1:]
    assert len(rows) == 2
    for row in report_of(here)["connections"]:
        [line] = [line for line in rows if row["nickname"] in line.split()]
        for text in (row["address"], "established", "direct", row["cipher"]):
            assert text in line


def test_json_of_each_command_is_the_part_of_the_report_it_shows(here: LabHost) -> None:
    report = json.loads(ask(here, "report"))
    assert report["ready"] is True
    assert report["open"] is False
    assert report["version"] == package.__version__
    assert len(report["routes"]) == 2
    assert set(report["data_path"]) == {"offloads", "counters", "drops"}
    status = json.loads(ask(here, "status", "--json"))
    assert set(status) == set(report)
    peers = json.loads(ask(here, "peers", "--json"))
    assert {row["name"] for row in peers} == {row["name"] for row in report["peers"]}
    assert all(row["reachable"] for row in peers)
    connections = json.loads(ask(here, "connections", "--json"))
    assert {row["peer"] for row in connections} == {row["peer"] for row in report["connections"]}
    assert all(row["encrypted"] and row["mtu"] == 1376 for row in connections)


@pytest.mark.parametrize("form", ["nickname", "name", "8 digits"])
def test_ping_takes_a_nickname_a_name_or_its_first_digits(
    mesh: LabMesh, here: LabHost, form: str
) -> None:
    other = mesh.hosts[2]
    name = report_of(other)["name"]
    peer = {"nickname": other.nickname, "name": name, "8 digits": name[:8]}[form]
    lines = ask(here, "ping", peer, "-c", "2").splitlines()
    assert [line.startswith(f"answer from {peer}: seq=") for line in lines] == [True, True, False]
    assert "2 sent, 2 answered, 0% lost" in lines[-1]


def test_ping_as_json_is_a_list_of_answers(here: LabHost) -> None:
    done = meshnet("ping", "h2", "-c", "2", "--json", "--api", here.api)
    answers = json_of(done)
    assert [answer["seq"] for answer in answers] == [1, 2]
    assert all(0 < answer["rtt_ms"] < 1000 for answer in answers)


@pytest.mark.parametrize("peer", ["nobody", "00000000", "h", ""])
def test_ping_of_an_unknown_peer_is_refused_with_one_line(here: LabHost, peer: str) -> None:
    line = one_line(meshnet("ping", peer, "--api", here.api), 1)
    assert f"'{peer}'" in line
    assert "meshnet peers" in line


@pytest.mark.parametrize("command", [(name,) for name in ASKING] + [("ping", "h2")], ids=" ".join)
def test_a_node_that_is_not_there_is_named_in_one_line(
    scratch: Path, command: tuple[str, ...]
) -> None:
    api = scratch / "none.sock"
    line = one_line(meshnet(*command, "--api", api), 1)
    assert str(api) in line
    assert "--api" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("status", "--nonsense"),
        ("status", "surplus"),
        ("ping",),
        ("ping", "h2", "-c", "0"),
        ("ping", "h2", "-c", "many"),
        ("ping", "h2", "--timeout", "100"),
        ("lab", "run", "--hosts", "0"),
        ("lab", "nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    assert "--help" in one_line(meshnet(*arguments), 2)


@pytest.mark.parametrize("arguments", [("--help",), ("ping", "-h"), ("lab", "run", "--help")])
def test_help_is_printed(arguments: tuple[str, ...]) -> None:
    done = meshnet(*arguments)
    assert done.returncode == 0
    assert "Usage:" in done.stdout

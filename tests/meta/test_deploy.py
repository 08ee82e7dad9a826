"""What deploy/ holds fits what it starts, as far as can be seen without starting it."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meshnet.node.options import parse_options
from meshnet.paths import default_api_path
from support.tree import ROOT

UNIT = ROOT / "deploy" / "meshnet.service"
CONTAINERFILE = ROOT / "deploy" / "Containerfile"
# containers-common: Containerfile(5).
INSTRUCTION = re.compile(
    "FROM|RUN|COPY|ENV|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD|USER|WORKDIR|ARG"
)


def service() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


def test_systemd_finds_nothing_to_complain_of_in_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("not on this machine: no systemd-analyze")
    # The interpreter has to be there, and is wherever this runs.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/meshnet/bin/python", sys.executable))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_gives_the_node_what_it_takes_and_no_more() -> None:
    unit = service()
    assert unit["ExecStart"].split()[1:3] == ["-m", "meshnet.node"]
    assert unit["Type"] == "notify"
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == "CAP_NET_ADMIN"
    directories = {"%S": "/var/lib", "%t": "/run"}
    environment = dict(pair.split("=") for pair in unit["Environment"].split())
    for short, path in directories.items():
        environment = {key: value.replace(short, path) for key, value in environment.items()}
    config = parse_options([], environment)
    assert config.state_dir == Path("/var/lib") / unit["StateDirectory"]
    assert config.api.parent == Path("/run") / unit["RuntimeDirectory"]
    if default_api_path().is_relative_to("/run/meshnet"):
        assert config.api == default_api_path()


def test_the_unit_lets_the_node_write_what_refuses_router_advertisements() -> None:
    """`ProtectKernelTunables` makes all of /proc/sys read-only, and the node would only warn."""
    switch = Path("/proc/sys/net/ipv6/conf/mesh0/accept_ra")
    unit = service()
    writable = [Path(path.lstrip("-")) for path in unit.get("ReadWritePaths", "").split()]
    assert unit["ProtectKernelTunables"] == "no" or set(writable) & set(switch.parents)


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Containerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text(), flags=re.M)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_containerfile_is_made_of_instructions_and_of_what_is_there() -> None:
    rows = instructions()
    assert all(INSTRUCTION.fullmatch(name) for name, _ in rows)
    assert rows[0][0] == "FROM"
    stages = {words[2] for name, text in rows if name == "FROM" and len(words := text.split()) == 3}
    for text in (text for name, text in rows if name == "COPY"):
        *sources, destination = [word for word in text.split() if not word.startswith("--")]
        assert destination.startswith("/")
        if found := re.search(r"--from=(\S+)", text):
            assert found[1] in stages
        else:
            assert all((ROOT / source).exists() for source in sources), text


def test_the_container_runs_the_node_and_stops_it_as_it_wants() -> None:
    found = dict(instructions())
    assert json.loads(found["ENTRYPOINT"]) == ["python", "-m", "meshnet.node"]
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert set(found["EXPOSE"].split()) == {"6783/tcp", "6783/udp"}
    assert json.loads(found["HEALTHCHECK"].split("CMD ")[1]) == ["meshnet", "status"]


def test_the_container_has_all_that_the_build_needs() -> None:
    """What pyproject.toml names beside the package itself is copied too."""
    copied = " ".join(text for name, text in instructions() if name == "COPY")
    project = (ROOT / "pyproject.toml").read_text()
    readme = re.search(r'^readme = "(.*?)"', project, re.M)
    assert readme is not None
    assert readme[1] in copied
    assert "pyproject.toml" in copied

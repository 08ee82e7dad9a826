"""The benchmark of the control plane works: a small mesh goes through all of it, and is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.tree import ROOT

PEERS = 12
NAME = "sim 12 peers, 40 entries"


def control_plane(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks/control_plane.py")),
            *("--results", str(results), *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def simulate(results: Path, *arguments: str) -> dict[str, Any]:
    done = control_plane(
        results,
        *("sim", "--peers", str(PEERS), "--entries", "40", "--idle-s", "10", "--changes", "2"),
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))[NAME]
    return run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("control-plane") / "results.json"
    simulate(results)
    return results


def test_every_phase_is_measured(measured: Path) -> None:
    run = json.loads(measured.read_text(encoding="utf-8"))[NAME]
    assert run["form"]["links_per_peer"] == PEERS - 1
    assert run["fill"]["settled_s"] is not None
    assert 0.0 < run["idle"]["kbit_per_s_mean"] < 50.0
    for phase in ("disseminate", "partition"):
        first, last = run[phase]["curve"][0], run[phase]["curve"][-1]
        # Who wrote knows at once, alone or in each half; in the end all do.
        assert first[1] < 0.6
        assert last == [run[phase]["t100_s"], 1.0]
    assert run["partition"]["parts"] == 2
    assert run["partition"]["healed_s"] is not None
    assert run["restart"]["settled_s"] is not None
    assert run["die"]["left"] == 2
    assert run["die"]["one_component_s"] is not None


def test_work_that_is_shared_changes_nothing_on_the_wire(measured: Path, tmp_path: Path) -> None:
    phases = ("--phases", "form", "fill", "disseminate")
    shared = simulate(tmp_path / "shared.json", *phases)
    alone = simulate(tmp_path / "alone.json", *phases, "--alone")
    assert (shared["shared_work"], alone["shared_work"]) == (True, False)
    assert shared["digest"] == alone["digest"]
    whole = json.loads(measured.read_text(encoding="utf-8"))[NAME]
    assert whole["digest"] != shared["digest"]


def test_what_was_measured_before_time_ran_out_is_kept(tmp_path: Path) -> None:
    run = simulate(tmp_path / "results.json", "--budget-s", "0")
    assert "digest" in run
    assert "disseminate" not in run


def test_gates_say_what_was_not_measured(measured: Path) -> None:
    done = control_plane(measured, "gates")
    assert done.returncode == 1
    rows = done.stdout.splitlines()
    assert len(rows) >= 10
    assert all(row.startswith("NOT MEASURED") for row in rows)


def test_gates_pass_and_fail_by_their_budget(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    for seen_s, verdict in ((0.9, "pass"), (1.1, "FAIL"), (None, "FAIL")):
        results.write_text(json.dumps({"real silent death": {"seen_s": seen_s}}), encoding="utf-8")
        [row] = [
            row
            for row in control_plane(results, "gates").stdout.splitlines()
            if not row.startswith("NOT MEASURED")
        ]
        assert row.split()[0] == verdict


def test_the_chart_shows_each_mesh_in_both_panels(measured: Path, tmp_path: Path) -> None:
    picture = tmp_path / "convergence.svg"
    assert control_plane(measured, "chart", str(picture)).returncode == 0
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    texts = [element.text for element in root.iter(f"{svg}text")]
    assert texts.count("12 peers") == 2
    curves = [
        element for element in root.iter(f"{svg}path") if element.get("stroke", "").startswith("#5")
    ]
    assert len(curves) == 4  # each with its sample in the legend

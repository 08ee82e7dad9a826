"""The control plane's figures: simulated meshes, real ones, gates, and a chart.

    python benchmarks/control_plane.py sim --peers 1000 --entries 1000
    python benchmarks/control_plane.py real                    # root: hosts in namespaces
    python benchmarks/control_plane.py gates                   # against the budgets of the design
    python benchmarks/control_plane.py chart docs/convergence.svg

What is measured is kept in one JSON file (`--results`), each run in its place, so that runs can be
made one after the other. README.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from scale import chart, gates, real
from scale.shared_work import shared_work
from scale.simulate import DEFAULT_DEGREE, Options, OutOfTimeError, Simulation

RESULTS = Path(__file__).with_name("control-plane.json")
PHASES = ("form", "fill", "idle", "disseminate", "partition", "restart", "die")
_INTERRUPTED = 130
# Points of curves stand on one line each.
_POINT = re.compile(r"\[\s+([\d.e-]+),\s+([\d.e-]+)\s+\]")


def main() -> int:
    """0: done, and with `gates` all passed; 1: a gate failed; 130: broken off."""
    options = _parse()
    results = Results(options.results)
    try:
        match options.command:
            case "sim":
                return _simulate(options, results)
            case "real":
                real.measure(options.peers, results.put, options.only)
            case "gates":
                return gates.judge(results.values)
            case "chart":
                options.file.write_text(chart.draw(results.values), encoding="utf-8")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was measured is kept\n")
        return _INTERRUPTED
    return 0


class Results:
    """What was measured, in a file from the moment that it is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = {}
        if path.exists():
            self.values = json.loads(path.read_text(encoding="utf-8"))

    def put(self, name: str, value: dict[str, Any]) -> None:
        self.values[name] = value
        text = json.dumps(self.values, indent=1, sort_keys=True)
        self._path.write_text(_POINT.sub(r"[\1, \2]", text) + "\n", encoding="utf-8")


def _simulate(options: argparse.Namespace, results: Results) -> int:
    entries = options.entries if options.entries is not None else options.peers
    simulation = Simulation(
        Options(
            peers=options.peers,
            entries=entries,
            degree=options.degree,
            seed=options.seed,
            idle_s=options.idle_s,
            budget_s=options.budget_s,
            changes=min(options.changes, options.peers),
        )
    )
    name = f"sim {options.peers} peers, {entries} entries"
    cpu_before = time.process_time()
    with nullcontext() if options.alone else shared_work():
        try:
            for phase in options.phases:
                getattr(simulation, phase)()
        except OutOfTimeError as error:
            sys.stderr.write(f"{error}; what was measured is kept\n")
        finally:
            simulation.results |= {
                "cpu_s": time.process_time() - cpu_before,
                "digest": simulation.cluster.trace.digest,
                "peers": options.peers,
                "shared_work": not options.alone,
            }
            results.put(name, simulation.results)
    sys.stdout.write(f"{name}\n{table(simulation.results)}")
    return 0


def table(results: dict[str, Any]) -> str:
    """One line for each figure."""
    lines = []
    for phase, values in results.items():
        if not isinstance(values, dict):
            lines.append(f"  {phase:34} {_shown(values)}\n")
            continue
        for name, value in values.items():
            if name != "curve":
                lines.append(f"  {phase + ' ' + name:34} {_shown(value)}\n")
    return "".join(lines)


def _shown(value: object) -> str:
    if value is None:
        return "not in time"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _parse() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    sim = commands.add_parser("sim", help="a simulated mesh under virtual time")
    sim.add_argument("--peers", type=int, default=100)
    sim.add_argument("--entries", type=int, help="of the shared state; default: one for each peer")
    sim.add_argument("--degree", type=int, default=DEFAULT_DEGREE)
    sim.add_argument("--seed", type=int, default=1)
    sim.add_argument("--idle-s", type=float, default=60.0)
    sim.add_argument("--changes", type=int, default=5, help="how many are looked at")
    sim.add_argument("--budget-s", type=float, default=3600.0, help="real seconds at most")
    sim.add_argument("--alone", action="store_true", help="no work shared between the peers")
    sim.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES, metavar="PHASE")
    on_hosts = commands.add_parser("real", help="real nodes in network namespaces; needs root")
    on_hosts.add_argument("--peers", type=int, nargs="+", default=[10, 40])
    on_hosts.add_argument("--only", choices=real.PARTS, nargs="+", default=real.PARTS)
    commands.add_parser("gates", help="compare with the budgets")
    picture = commands.add_parser("chart", help="draw the curves of convergence as SVG")
    picture.add_argument("file", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""The budgets of the control plane (the last rows of the design's table), row by row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

BIG_PEERS = 1000
FLAT_WITHIN = 0.1


class Gate(NamedTuple):
    """A budget. ``measured`` reads it off the results; KeyError: it has not been measured."""

    what: str
    limit: float
    unit: str
    measured: Callable[[Mapping[str, Any]], float | None]


def _sim(peers: int, entries: int, phase: str, name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda results: results[f"sim {peers} peers, {entries} entries"][phase][name]


def _flatness(results: Mapping[str, Any]) -> float:
    """How much the idle traffic of 50 peers differs between 1,000 and 100,000 entries."""
    few, many = (
        results[f"sim 50 peers, {entries} entries"]["idle"]["kbit_per_s_mean"]
        for entries in (1000, 100000)
    )
    return float(abs(many - few) / few)


def _real(name: str, key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda results: results[name][key]


_BIG = (BIG_PEERS, BIG_PEERS)

GATES = (
    Gate("node memory, of 20", 40.0, "MiB", _real("real 20 peers", "rss_mib_max")),
    Gate("node idle CPU, of 20", 0.3, "% of a core", _real("real 20 peers", "idle_cpu_percent")),
    Gate("10 real nodes: full mesh", 2.0, "s", _real("real 10 peers", "connected_s")),
    Gate(
        "40 real nodes: every pair connected or routed",
        10.0,
        "s",
        _real("real 40 peers", "connected_s"),
    ),
    Gate("1,000 peers: a change known by 99 %", 2.0, "s", _sim(*_BIG, "disseminate", "t99_s")),
    Gate("1,000 peers: idle, sent", 5.0, "kbit/s", _sim(*_BIG, "idle", "kbit_per_s_mean")),
    Gate("50 peers: idle, 100,000 entries against 1,000", FLAT_WITHIN, "", _flatness),
    Gate(
        "1,000 peers: whole again after a partition",
        10.0,
        "s",
        _sim(*_BIG, "partition", "healed_s"),
    ),
    Gate("1,000 peers: one mesh after 80 % died", 30.0, "s", _sim(*_BIG, "die", "one_component_s")),
    Gate("silent death of a neighbour: seen", 1.0, "s", _real("real silent death", "seen_s")),
    Gate("silent death of a relay: lost", 1.5, "s", _real("real relay falls silent", "lost_s")),
    Gate("kill -9 of a relay: lost", 0.3, "s", _real("real relay is killed", "lost_s")),
)


def judge(results: Mapping[str, Any]) -> int:
    """Print each row. 1 if one failed or was not measured, else 0."""
    bad = 0
    for gate in GATES:
        try:
            value = gate.measured(results)
        except KeyError:
            verdict, shown = "NOT MEASURED", "-"
        else:
            verdict = "pass" if value is not None and value <= gate.limit else "FAIL"
            shown = "not in time" if value is None else f"{value:.3f}"
        bad += verdict != "pass"
        sys.stdout.write(
            f"{verdict:13} {gate.what:48} {shown:>12} of at most {gate.limit:g} {gate.unit}\n"
        )
    return 1 if bad else 0

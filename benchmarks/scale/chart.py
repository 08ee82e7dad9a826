"""The curves of convergence as one SVG, which any browser and GitHub show.

Two panels side by side: how many peers know a change, and how many know what the other half wrote
once a partition has ended. Written by hand, since it is two dozen lines and no plotting library
belongs into a network's tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 920, 400
PANEL_WIDTH, PANEL_HEIGHT = 380, 270
TOP, LEFT, GAP = 60, 60, 80
# Told apart by people who see colours differently (Okabe and Ito), from few peers to many.
COLOURS = ("#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#0072b2")

_Line = tuple[str, list[tuple[float, float]]]


def draw(results: Mapping[str, Any]) -> str:
    """The whole picture. Raises ValueError when nothing was measured that could be drawn."""
    panels = [
        ("One entry changes: peers that know it", _lines(results, "disseminate")),
        ("A partition ends: peers that know both halves' changes", _lines(results, "partition")),
    ]
    if not any(lines for _, lines in panels):
        raise ValueError("no simulation has been run: python benchmarks/control_plane.py sim")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        "<title>How news spread: share of the peers that know, over time</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, (title, lines) in enumerate(panels):
        parts += _panel(LEFT + number * (PANEL_WIDTH + GAP), title, lines)
    return "\n".join([*parts, "</svg>", ""])


def _lines(results: Mapping[str, Any], phase: str) -> list[_Line]:
    """Of several runs with as many peers, that with the most entries."""
    found: dict[int, tuple[int, list[tuple[float, float]]]] = {}
    for run in results.values():
        curve = run.get(phase, {}).get("curve") if isinstance(run, dict) else None
        if curve:
            entries = run.get("fill", {}).get("entries", 0)
            peers = run["peers"]
            if peers not in found or found[peers][0] < entries:
                found[peers] = (entries, [(at, known) for at, known in curve])
    return [(f"{peers:,} peers", found[peers][1]) for peers in sorted(found)]


def _panel(left: int, title: str, lines: Sequence[_Line]) -> list[str]:
    bottom = TOP + PANEL_HEIGHT
    end_s = _round_up(max((curve[-1][0] for _, curve in lines), default=1.0))

    def x(at_s: float) -> float:
        return round(left + at_s / end_s * PANEL_WIDTH, 1)

    def y(share: float) -> float:
        return round(bottom - share * PANEL_HEIGHT, 1)

    parts = [f'<text x="{left}" y="{TOP - 20}" font-size="14" font-weight="bold">{title}</text>']
    for percent in (0, 25, 50, 75, 100):
        at = y(percent / 100)
        parts.append(
            f'<path d="M{left} {at}H{left + PANEL_WIDTH}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{at + 4}" text-anchor="end">{percent} %</text>'
        )
    for tick in range(5):
        at_s = end_s * tick / 4
        parts.append(
            f'<path d="M{x(at_s)} {bottom}v5" stroke="#222"/>'
            f'<text x="{x(at_s)}" y="{bottom + 20}" text-anchor="middle">{at_s:g} s</text>'
        )
    for number, (name, curve) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path, known = f"M{x(0.0)} {y(curve[0][1])}", curve[0][1]
        for at_s, share in curve[1:]:
            path += f"H{x(at_s)}V{y(share)}"  # steps: nothing is known in between
            known = share
        path += f"H{x(end_s)}" if known >= 1.0 else ""
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = bottom - 14 - 18 * (len(lines) - 1 - number)
        right = left + PANEL_WIDTH
        parts.append(
            f'<path d="M{right - 30} {at - 4}h24" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{right - 36}" y="{at}" text-anchor="end">{name}</text>'
        )
    parts.append(
        f'<path d="M{left} {TOP}V{bottom}H{left + PANEL_WIDTH}" fill="none" stroke="#222"/>'
    )
    return parts


def _round_up(value: float) -> float:
    """The next number that divides well by four: 0.4, 0.8, 1.2, 2, 4, 8, ..."""
    scale = 10.0 ** math.floor(math.log10(max(value, 1e-3)))
    return next(step * scale for step in (1.2, 2.0, 4.0, 8.0, 12.0) if step * scale >= value)

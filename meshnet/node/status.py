"""What `--status-addr` serves, read-only, to whoever reaches the address: docs/commands.md."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

from meshnet.aio.mesh import Mesh
from meshnet.node.http import Answer, Request, Routes, as_json
from meshnet.report import Report


def status_routes(mesh: Mesh) -> Routes:
    """The report as JSON, one screen of text, and whether the node is ready."""

    async def report(_request: Request) -> Answer:
        return as_json(mesh.report())

    async def healthz(_request: Request) -> Answer:
        if mesh.is_ready:
            return Answer(b"ok\n")
        return Answer(b"not ready\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def status(_request: Request) -> Answer:
        return Answer(status_text(mesh.report()).encode())

    return {("GET", "/v1/report"): report, ("GET", "/healthz"): healthz, ("GET", "/"): status}


def status_text(report: Report) -> str:
    """One screen of plain text."""
    states = Counter(row["state"] for row in report["connections"])
    access = f"password or key ({report['secrets']} accepted)"
    if report["open"]:
        access = "OPEN: anyone may join"
    rows = [
        ("name", f"{report['name']} ({report['nickname']})"),
        ("network", report["network"]),
        ("access", access),
        ("version", report["version"]),
        ("ready", "yes" if report["ready"] else "no"),
        ("listening", report["listen"]),
        ("tap", f"{report['tap'] or 'none'}, overlay MTU {report['mtu']}"),
        ("peers", f"{len(report['peers'])} known, us included"),
        ("connections", ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none"),
    ]
    for row in report["connections"]:
        who = row["nickname"] or row["peer"][:8] or row["address"]
        words = (who, row["address"], row["state"], row["path"], row["cipher"], row["reason"])
        rows.append(("", " ".join(word for word in dict.fromkeys(words) if word)))
    return "".join(f"{key + ':' if key else '':<13}{value}\n" for key, value in rows)

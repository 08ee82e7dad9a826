"""How reports look to people: rich tables and lines made of the report's plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from meshnet.report import (
    ConnectionReport,
    Explanation,
    GoneReport,
    Pong,
    RemovedReport,
    Report,
    TargetReport,
)

# Wider than any line: nothing is wrapped.
_PIPE_WIDTH = 10_000
# Blanks between columns.
_GAP = 2
# The last column is a sentence: it may be wrapped, but no narrower than this.
_LAST_COLUMN_WIDTH = 20
_STATE_STYLES = {"established": "green", "connecting": "yellow", "retrying": "yellow"}


def new_console() -> Console:
    """Where views are printed; a pipe gets them unwrapped and without colour."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def show(what: object) -> None:
    """Print a view."""
    console = new_console()
    if console.is_terminal:
        console.print(what)
        return
    with console.capture() as capture:
        console.print(what)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def status(report: Report) -> Table:
    """Who we are, whether it works, what is wrong."""
    states = Counter(row["state"] for row in report["connections"])
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    table = Table.grid(padding=(0, 2))
    add_row(table, "Name", f"{report['name']} ({report['nickname']})")
    add_row(table, "Network", report["network"])
    add_row(table, "Access", _access(report))
    add_row(table, "Listening", f"{report['listen']} (TCP and UDP)")
    add_row(table, "Announced", ", ".join(report["addresses"]) or "no address")
    tap = report["tap"] or "none"
    if report["interface"] not in ("", tap):
        tap += f", a port of bridge {report['interface']}"
    add_row(table, "TAP", f"{tap}, overlay MTU {report['mtu']}")
    own = (a for a in report["overlay_addresses"] if not ip_address(a).is_link_local)
    add_row(table, "Overlay", ", ".join(own) or "no address")
    gone = sum(peer["gone"] is not None for peer in report["peers"])
    known = f"{len(report['peers'])} known, us included"
    add_row(table, "Peers", known + (f"; {gone} gone" if gone else ""))
    add_row(table, "Channels", str(len(report["channels"])))
    add_row(table, "Connections", counts or "none")
    clear = sum(_is_clear(row) for row in report["connections"])
    if clear:
        text = f"{clear} of them exchange frames IN CLEAR (trusted subnets)"
        add_row(table, "", Text(text, "bold red"))
    for row in report["connections"]:
        if row["reason"]:
            add_row(table, "", f"{row['nickname'] or row['address']}: {row['reason']}")
    drops = ", ".join(f"{count} {reason}" for reason, count in report["data_path"]["drops"].items())
    add_row(table, "Dropped", drops or "nothing")
    add_row(table, "Version", report["version"])
    return table


def peers(report: Report) -> Listing:
    """All peers known."""
    table = Listing("NAME", "NICKNAME", "REACHABLE", "GONE")
    for peer in report["peers"]:
        ours = " (us)" if peer["name"] == report["name"] else ""
        reachable = "yes" if peer["reachable"] else "no"
        add_row(table, peer["name"], peer["nickname"] + ours, reachable, _gone(peer["gone"]))
    return table


def removed(row: RemovedReport) -> str:
    """One peer that was removed, or had been."""
    name = row["nickname"] or row["name"]
    if not row["entries"]:
        return f"{name}: nothing is held of it"
    return f"{name}: removed, {row['entries']} entries let go"


def _gone(row: GoneReport | None) -> str:
    """Why a peer is gone, for how long, and how much longer it is remembered."""
    if row is None:
        return "-"
    since = span(row["for_s"])
    said = {
        "goodbye": f"stopped {since} ago",
        "lost": f"lost {since} ago",
        "not_seen": f"not seen for {since}",
    }[row["reason"]]
    left_s = row["forgotten_in_s"]
    return said if left_s is None else f"{said}, forgotten in {span(left_s)}"


def span(seconds: float) -> str:
    """A duration in its largest unit.

    >>> span(3 * 86400 + 5)
    '3 d'
    """
    for unit, unit_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def connections(report: Report) -> Listing:
    """Our connections."""
    table = Listing(
        *("PEER", "ADDRESS", "DIRECTION", "STATE", "PATH", "CIPHER", "RTT", "LOSS", "REASON"),
        spare=("DIRECTION", "CIPHER", "LOSS", "RTT", "PATH"),
    )
    for row in report["connections"]:
        add_row(
            table,
            row["nickname"] or row["peer"][:8] or "?",
            row["address"],
            row["direction"],
            _state(row["state"]),
            row["path"] or "-",
            Text("IN CLEAR", "bold red") if _is_clear(row) else row["cipher"] or "-",
            milliseconds(row["rtt_ms"]),
            _loss(row),
            row["reason"] or "-",
        )
    return table


def targets(rows: Sequence[TargetReport]) -> Listing:
    """What is dialled."""
    table = Listing(
        *("ADDRESS", "GIVEN", "PEER", "STATE", "FAILURES", "NEXT TRY", "REASON"),
        spare=("FAILURES", "GIVEN", "NEXT TRY"),
    )
    for row in rows:
        add_row(
            table,
            row["address"],
            "yes" if row["given"] else "no",
            row["nickname"] or row["peer"][:8] or "?",
            _state(row["state"]),
            str(row["failures"]),
            f"in {row['next_try_s']:.1f} s" if row["next_try_s"] is not None else "-",
            row["reason"] or "-",
        )
    return table


def explanation(explained: Explanation) -> Table:
    """Why a pair is as it is."""
    table = Table.grid(padding=(0, 2))
    name = explained["peer"] or "nobody knows yet who answers there"
    nickname = f" ({explained['nickname']})" if explained["nickname"] else ""
    add_row(table, "Peer", name + nickname)
    row, route = explained["connection"], explained["route"]
    add_row(table, "Link", explained["link"])
    if row is not None:
        words = [row["state"], row["path"], row["address"]]
        words.append("IN CLEAR" if _is_clear(row) else row["cipher"])
        if row["rtt_ms"] is not None:
            words.append(f"round trip {milliseconds(row['rtt_ms'])}")
        if row["loss"] is not None:
            words.append(f"loss {_loss(row)}")
        shown = Text(", ".join(word for word in words if word))
        shown.highlight_words(["IN CLEAR"], "bold red")
        add_row(table, "Connection", shown)
    if route is not None:
        far = f"{route['hops']} hops, the first to {route['via'][:8]}"
        add_row(table, "Route", "direct neighbour" if route["hops"] == 1 else far)
    _add_list(table, "Why", [f"{row['cause']}: {row['text']}" for row in explained["causes"]])
    tries = explained["attempts"]
    tried = [f"{row['address']} by {row['transport']}: {row['result']}" for row in tries]
    _add_list(table, "Tried", tried)
    return table


def pong(peer: str, answer: Pong) -> str:
    """One line of `ping`."""
    if answer["rtt_ms"] is None:
        return f"no answer from {peer}: seq={answer['seq']}"
    return f"answer from {peer}: seq={answer['seq']} time={answer['rtt_ms']:.3f} ms"


def ping_summary(pongs: Sequence[Pong]) -> str:
    """The last line of `ping`."""
    times = [answer["rtt_ms"] for answer in pongs if answer["rtt_ms"] is not None]
    lost = 1 - len(times) / len(pongs)
    line = f"{len(pongs)} sent, {len(times)} answered, {lost:.0%} lost"
    if times:
        line += f", min/avg/max {min(times):.3f}/{sum(times) / len(times):.3f}/{max(times):.3f} ms"
    return line


def milliseconds(value: float | None) -> str:
    return f"{value:.2f} ms" if value is not None else "-"


def add_row(table: Table | Listing, *cells: str | Text) -> None:
    """A row of plain text: what peers say of themselves is not to be read as markup."""
    table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))


def _access(report: Report) -> Text:
    if report["open"]:
        return Text("OPEN: no password, anyone may join (traffic is sealed)", "bold red")
    return Text(f"password or key ({report['secrets']} accepted)")


def _add_list(table: Table, label: str, lines: Sequence[str]) -> None:
    """A row for each line, the first one labelled."""
    for number, line in enumerate(lines):
        add_row(table, "" if number else label, line)


def _state(state: str) -> Text:
    return Text(state, _STATE_STYLES.get(state, "red"))


def _is_clear(row: ConnectionReport) -> bool:
    """Frames go as they are, between trusted subnets."""
    return row["cipher"] == "none"


def _loss(row: ConnectionReport) -> str:
    return f"{row['loss']:.0%}" if row["loss"] is not None else "-"


class Listing:
    """A table in which all but the last column stay on one line, so that they can be copied.

    On a terminal too narrow for that the ``spare`` columns are left out, as many as must be.
    """

    def __init__(self, *columns: str, spare: Sequence[str] = ()) -> None:
        self._columns = columns
        self._spare = spare
        self._rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: Text) -> None:
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max(cell.cell_len for cell in cells)
            for cells in zip(map(Text, self._columns), *self._rows, strict=True)
        ]
        widths[-1] = min(widths[-1], _LAST_COLUMN_WIDTH)
        shown = list(range(len(self._columns)))
        for column in self._spare:
            if sum(widths[number] + _GAP for number in shown) - _GAP <= options.max_width:
                break
            shown.remove(self._columns.index(column))
        width = sum(widths[number] + _GAP for number in shown) - _GAP
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        for number in shown[:-1]:
            table.add_column(self._columns[number], no_wrap=True, min_width=widths[number])
        table.add_column(self._columns[-1], overflow="fold", min_width=widths[-1])
        for row in self._rows:
            table.add_row(*(row[number] for number in shown))
        # What is wider still the terminal wraps, or cuts off at its edge.
        yield from console.render(table, options.update(width=max(width, options.max_width)))

"""The commands that break and heal a lab which runs in another terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.text import Text

from meshnet.cli.show import show
from meshnet.cli.views import Listing, add_row
from meshnet.lab.control import HostStatus, LabStatus, find_lab

F = TypeVar("F", bound=Callable[..., Any])

_NODE_STYLES = {"running": "green"}


def _lab_options(command: F) -> F:
    command = click.option(
        "--lab", "name", metavar="NAME", help="Which lab, if several are running."
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


@click.command()
@_lab_options
def status(name: str | None, as_json: bool) -> None:
    """The hosts of the running lab: node, addresses, and what is cut off."""
    answer = find_lab(name).ask("status")
    show(lambda: answer if as_json else _table(answer["hosts"]), as_json)


@click.command()
@click.argument("first", metavar="HOST")
@click.argument("second", metavar="[HOST]", required=False)
@_lab_options
def cut(first: str, second: str | None, name: str | None, as_json: bool) -> None:
    """Drop all packets of HOST on the underlay, or all between two hosts.

    Silently, as if a cable were pulled: nobody gets a refusal. `meshnet lab heal` ends it.
    """
    answer = find_lab(name).ask("cut", *_given(first, second))
    said = f"no packet passes between {first} and {second or 'any other host'}"
    _tell(answer, as_json, f"{said}; to undo: meshnet lab heal {' '.join(_given(first, second))}")


@click.command()
@click.argument("first", metavar="[HOST]", required=False)
@click.argument("second", metavar="[HOST]", required=False)
@_lab_options
def heal(first: str | None, second: str | None, name: str | None, as_json: bool) -> None:
    """Undo all cuts, those that HOST is part of, or that between two hosts."""
    answer = find_lab(name).ask("heal", *_given(first, second))
    left = [row["host"] for row in answer["hosts"] if row["cut_off_from"]]
    _tell(answer, as_json, f"still cut off: {', '.join(left)}" if left else "nothing is cut off")


@click.command()
@click.argument("host")
@_lab_options
def kill(host: str, name: str | None, as_json: bool) -> None:
    """Kill the node of HOST as `kill -9` does; the host stays."""
    answer = find_lab(name).ask("kill", host)
    _tell(answer, as_json, f"the node of {host} is dead; meshnet lab start {host} starts it again")


@click.command()
@click.argument("host")
@_lab_options
def start(host: str, name: str | None, as_json: bool) -> None:
    """Start the node of HOST again, with the identity and state that it had."""
    answer = find_lab(name).ask("start", host)
    _tell(answer, as_json, f"the node of {host} is running")


@click.command()
@click.argument("host")
@_lab_options
def rebind(host: str, name: str | None, as_json: bool) -> None:
    """Have the NAT gateway of HOST forget its mappings: what HOST sends next has other ports."""
    answer = find_lab(name).ask("rebind", host)
    _tell(answer, as_json, f"the gateway of {host} has forgotten its mappings")


COMMANDS: list[click.Command] = [status, cut, heal, kill, start, rebind]
"""As `meshnet lab` lists them."""


def _given(*hosts: str | None) -> list[str]:
    return [host for host in hosts if host is not None]


def _tell(answer: LabStatus, as_json: bool, line: str) -> None:
    if as_json:
        show(lambda: answer, as_json)
    else:
        click.echo(line)


def _table(hosts: list[HostStatus]) -> Listing:
    columns = ("HOST", "NODE", "UNDERLAY", "NAT", "ENTER", "CUT OFF FROM")
    table = Listing(*columns, spare=("ENTER", "NAT"))
    for row in hosts:
        add_row(
            table,
            row["host"],
            Text(row["node"], _NODE_STYLES.get(row["node"], "red")),
            row["underlay"],
            row["nat"] or "-",
            row["enter"],
            Text(", ".join(row["cut_off_from"]) or "-", "red" if row["cut_off_from"] else ""),
        )
    return table

"""The commands that ask a node: `meshnet status`, `peers`, `connections`, `report`, `ping`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from meshnet.cli import views
from meshnet.cli.genkey import genkey
from meshnet.client import Client
from meshnet.report import Pong
from meshnet.version import __version__

F = TypeVar("F", bound=Callable[..., Any])

_PING_INTERVAL_S = 1.0


def node_options(command: F) -> F:
    """``--api`` and ``--json``, understood by every command that asks a node."""
    command = click.option(
        "--api",
        type=click.Path(path_type=Path, readable=False),
        envvar="MESHNET_API",
        help="Unix socket of the node to ask.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meshnet")
def cli() -> None:
    """See and steer a meshnet node on this host."""


@cli.command()
@node_options
def status(api: Path | None, as_json: bool) -> None:
    """One screen: who we are, whether it works, what is wrong."""
    report = Client(api).report()
    _show(report if as_json else views.status(report), as_json)


@cli.command()
@node_options
def peers(api: Path | None, as_json: bool) -> None:
    """All peers this node knows, and whether frames reach them."""
    report = Client(api).report()
    _show(report["peers"] if as_json else views.peers(report), as_json)


@cli.command()
@node_options
def connections(api: Path | None, as_json: bool) -> None:
    """This node's connections: state and reason, path, cipher, round trip."""
    report = Client(api).report()
    _show(report["connections"] if as_json else views.connections(report), as_json)


@cli.command()
@node_options
def report(api: Path | None, as_json: bool) -> None:  # noqa: ARG001  (always JSON)
    """Everything, as one JSON object."""
    _show(Client(api).report(), as_json=True)


@cli.command()
@click.argument("peer")
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.01, 5.0), default=1.0)
@node_options
def ping(peer: str, count: int, timeout_s: float, api: Path | None, as_json: bool) -> None:
    """Round trips through the data session with PEER (nickname, name, or 8 digits of it)."""
    client = Client(api)
    pongs: list[Pong] = []
    for seq in range(1, count + 1):
        if seq > 1:
            time.sleep(_PING_INTERVAL_S)
        pongs.append(client.ping(peer, seq=seq, timeout_s=timeout_s))
        if not as_json:
            click.echo(views.pong(peer, pongs[-1]))
    if as_json:
        _show(pongs, as_json=True)
    else:
        click.echo(views.ping_summary(pongs))
    if all(pong["rtt_ms"] is None for pong in pongs):
        raise SystemExit(1)


@cli.command()
@node_options
def reload(api: Path | None, as_json: bool) -> None:
    """Have the node read its settings again: passwords, keys, peers, log level (as SIGHUP does)."""
    answer = Client(api).reload()
    if as_json:
        _show(answer, as_json=True)
    elif answer["unchanged"]:
        names = ", ".join(answer["unchanged"])
        click.echo(f"reloaded; takes effect at the next start only: {names}")
    else:
        click.echo("reloaded")


cli.add_command(genkey)


def _show(what: object, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(what, indent=2))
    else:
        views.show(what)

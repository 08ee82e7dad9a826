"""The commands that ask a node, or tell it something: docs/commands.md."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from meshnet.cli import views
from meshnet.cli.genkey import genkey
from meshnet.cli.reset import reset
from meshnet.cli.show import show
from meshnet.client import Client
from meshnet.report import Pong
from meshnet.version import __version__

F = TypeVar("F", bound=Callable[..., Any])

_PING_INTERVAL_S = 1.0
_WATCH_INTERVAL_S = 2.0


class _Seconds(click.FloatRange):
    """A number of seconds in a range; ``nan``, which no comparison puts outside of one, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


def node_options(command: F) -> F:
    """``--api`` and ``--json``, understood by every command that asks a node."""
    command = click.option(
        "--api",
        type=click.Path(path_type=Path, readable=False),
        envvar="MESHNET_API",
        help="Unix socket of the node to ask.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def watch_option(command: F) -> F:
    """``--watch [SECONDS]``."""
    return click.option(
        "--watch",
        "watch_s",
        type=_Seconds(0.1, 3600.0),
        is_flag=False,
        flag_value=_WATCH_INTERVAL_S,
        metavar="[SECONDS]",
        help=f"Show it again and again (every {_WATCH_INTERVAL_S:.0f} s) until Ctrl-C.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meshnet")
def cli() -> None:
    """See and steer a meshnet node on this host.

    Options stand after the command: `--api PATH` picks the node by its unix socket, as MESHNET_API
    does, and `--json` prints JSON for machines.
    """


@cli.command()
@watch_option
@node_options
def status(api: Path | None, as_json: bool, watch_s: float | None) -> None:
    """One screen: who we are, whether it works, what is wrong."""

    def ask() -> object:
        report = Client(api).report()
        return report if as_json else views.status(report)

    show(ask, as_json, watch_s)


@cli.command()
@watch_option
@node_options
def peers(api: Path | None, as_json: bool, watch_s: float | None) -> None:
    """All peers this node knows, and whether frames reach them."""

    def ask() -> object:
        report = Client(api).report()
        return report["peers"] if as_json else views.peers(report)

    show(ask, as_json, watch_s)


@cli.command()
@watch_option
@node_options
def connections(api: Path | None, as_json: bool, watch_s: float | None) -> None:
    """This node's connections: state and reason, path, cipher, round trip."""

    def ask() -> object:
        report = Client(api).report()
        return report["connections"] if as_json else views.connections(report)

    show(ask, as_json, watch_s)


@cli.command()
@watch_option
@node_options
def targets(api: Path | None, as_json: bool, watch_s: float | None) -> None:
    """What this node dials, and what came of it.

    Addresses that were given and peers heard of, with the reason and the time of the next try.
    """

    def ask() -> object:
        targets = Client(api).targets()
        return targets if as_json else views.targets(targets)

    show(ask, as_json, watch_s)


@cli.command()
@node_options
def report(api: Path | None, as_json: bool) -> None:  # noqa: ARG001  (always JSON)
    """Everything, as one JSON object."""
    show(Client(api).report, as_json=True)


@cli.command()
@click.argument("peer")
@node_options
def explain(peer: str, api: Path | None, as_json: bool) -> None:
    """Why PEER is connected as it is, or is not.

    PEER is a nickname, a name, the first 8 digits of one or more, or an address that is dialled.
    """
    explanation = Client(api).explain(peer)
    show(lambda: explanation if as_json else views.explanation(explanation), as_json)


@cli.command()
@click.argument("addresses", nargs=-1, required=True, metavar="HOST[:PORT]...")
@node_options
def connect(addresses: tuple[str, ...], api: Path | None, as_json: bool) -> None:
    """Keep links to these addresses too.

    One that is a target already is tried again at once. They are kept for the next starts too,
    until `meshnet forget`.
    """
    connecting = Client(api).connect(addresses)
    if as_json:
        show(lambda: {"connecting": connecting}, as_json)
    for address in () if as_json else connecting:
        click.echo(f"connecting to {address}; see `meshnet targets`")


@cli.command()
@click.argument("addresses", nargs=-1, required=True, metavar="HOST[:PORT]...")
@node_options
def forget(addresses: tuple[str, ...], api: Path | None, as_json: bool) -> None:
    """Dial these addresses no more.

    A link that nothing else asks for ends.
    """
    forgotten = Client(api).forget(addresses)
    if as_json:
        show(lambda: {"forgotten": forgotten}, as_json)
    for address in () if as_json else forgotten:
        click.echo(f"forgotten: {address}")


@cli.command()
@click.argument("wanted", nargs=-1, required=True, metavar="PEER...")
@click.option("--data", is_flag=True, help="What they wrote in users' channels, too.")
@node_options
def rmpeer(wanted: tuple[str, ...], data: bool, api: Path | None, as_json: bool) -> None:
    """Have the whole mesh forget peers that are gone for good.

    PEER is a nickname, a name, or the first 8 digits of one or more.
    """
    removed = Client(api).rmpeer(wanted, data=data)
    if as_json:
        show(lambda: {"removed": removed}, as_json)
    for row in () if as_json else removed:
        click.echo(views.removed(row))


@cli.command()
@click.argument("peer")
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True)
@click.option("--timeout", "timeout_s", type=_Seconds(0.01, 5.0), default=1.0)
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
        show(lambda: pongs, as_json)
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
        show(lambda: answer, as_json)
    elif answer["unchanged"]:
        names = ", ".join(answer["unchanged"])
        click.echo(f"reloaded; takes effect at the next start only: {names}")
    else:
        click.echo("reloaded")
    for warning in () if as_json else answer["warnings"]:
        click.echo(f"warning: {warning}")


cli.add_command(genkey)
cli.add_command(reset)

"""``meshnet lab``: try a mesh on one machine, by hand or as a check."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from types import FrameType
from typing import Any, NoReturn

import click

from meshnet.cli import views
from meshnet.lab import steer
from meshnet.lab.check import check_mesh, result_table
from meshnet.lab.control import ControlledLab
from meshnet.lab.hosts import MAX_HOSTS, LabError, Underlay, check_tools
from meshnet.lab.impairments import Impairments
from meshnet.lab.mesh import LabMesh
from meshnet.lab.rootless import become_root_of_a_user_namespace
from meshnet.lab.topology import TOPOLOGIES

_FULL_MESH_S = 30.0


class _HostsBehindNat(click.ParamType[str]):
    """How many hosts, the last ones, or which: `2`, `h3`, `h1,h3`."""

    name = "N|HOST[,HOST...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch(r"\d{1,3}|h\d{1,3}(,h\d{1,3})*", value) is None:
            self.fail(f"'{value}' is neither a number of hosts nor hosts (h1,h3).", param, ctx)
        return str(value)


@click.group()
def lab() -> None:
    """Whole meshes on this machine, in network namespaces; nothing is left behind.

    `meshnet lab run` starts one; from another terminal the other commands break it and heal it.
    """


for command in steer.COMMANDS:
    lab.add_command(command)


@lab.command()
@click.option("--hosts", type=click.IntRange(1, MAX_HOSTS), default=3, show_default=True)
@click.option(
    "--topology",
    type=click.Choice(list(TOPOLOGIES)),
    default="full",
    show_default=True,
    help="Which hosts reach each other on the underlay; the others are reached through peers.",
)
@click.option(
    "--loss",
    "loss_percent",
    type=click.FloatRange(0, 100),
    default=0.0,
    metavar="PERCENT",
    help="Packets between hosts that are lost.",
)
@click.option(
    "--delay",
    "delay_ms",
    type=click.FloatRange(0, 10_000),
    default=0.0,
    metavar="MS",
    help="How much longer a packet takes, one way.",
)
@click.option(
    "--jitter",
    "jitter_ms",
    type=click.FloatRange(0, 10_000),
    default=0.0,
    metavar="MS",
    help="Up to that much more, for each packet anew.",
)
@click.option(
    "--rate",
    "rate_mbit",
    type=click.FloatRange(0.01, 10_000),
    metavar="MBIT",
    help="What each host can send, and receive, in a second.",
)
@click.option(
    "--nat",
    type=_HostsBehindNat(),
    help="Hosts that stand behind a NAT gateway of their own: how many (the last ones), or which.",
)
@click.option("--check", is_flag=True, help="Ping all pairs, measure, print a table, and end.")
def run(
    hosts: int,
    topology: str,
    loss_percent: float,
    delay_ms: float,
    jitter_ms: float,
    rate_mbit: float | None,
    nat: str | None,
    check: bool,
) -> None:
    """Start HOSTS hosts with a node each, and wait until all reach all. Ctrl-C ends it.

    As root or, where the system allows user namespaces and /dev/net/tun, as anybody.
    """
    behind_nat = _behind_nat(nat, hosts)
    impairments = Impairments(
        loss_percent=loss_percent,
        delay_s=delay_ms / 1e3,
        jitter_s=jitter_ms / 1e3,
        rate_bits_per_s=(rate_mbit or 0.0) * 1e6,
    )
    check_tools(("ping", "iputils-ping"))
    if loss_percent or behind_nat:
        check_tools(("nft", "nftables"))
    if os.geteuid() != 0:
        become_root_of_a_user_namespace()
    # Tidy up on the way out; Ctrl-C works also where a shell has us ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    start = time.monotonic()

    def tell(line: str) -> None:
        click.echo(f"[{time.monotonic() - start:5.1f} s] {line}")

    tell(f"starting {hosts} hosts ({topology}), one node each")
    with LabMesh(hosts, topology=topology, impairments=impairments, behind_nat=behind_nat) as mesh:
        try:
            mesh.wait_full_mesh(_FULL_MESH_S, tell)
        except LabError as error:
            # Who asks for a bad underlay by hand wants to see what becomes of it.
            if check or impairments == Impairments():
                raise
            tell(f"{error}; going on, since the underlay is to be bad")
        if not check:
            _until_interrupted(mesh)
            return
        results = check_mesh(mesh, tell)
        views.show(result_table(results))
        failed = [result for result in results if not result.passed]
    tell("everything is removed")
    if failed:
        raise LabError(f"{len(failed)} of {len(results)} pairs failed")


def _behind_nat(given: str | None, hosts: int) -> list[int]:
    if given is None:
        return []
    if given.isdigit():
        numbers = list(range(hosts - int(given) + 1, hosts + 1))
    else:
        numbers = sorted({int(name.removeprefix("h")) for name in given.split(",")})
    if not all(1 <= number <= hosts for number in numbers):
        raise click.UsageError(f"--nat {given}: there are {hosts} hosts, h1 to h{hosts}.")
    return numbers


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _until_interrupted(mesh: LabMesh) -> None:
    lab = ControlledLab(mesh)
    for host in mesh.hosts:
        nat = f" behind NAT {Underlay.ipv4(host.number)}" if host.behind_nat else ""
        click.echo(
            f"{host.nickname}: overlay {host.overlay_ipv4} {host.overlay_ipv6}, "
            f"underlay {host.underlay_ipv4}{nat}\n"
            f"    enter:  {host.namespace.how_to_enter()}\n"
            f"    ask:    {sys.executable} -m meshnet status --api {host.api}"
        )
    steering = ", ".join(command.name or "" for command in steer.COMMANDS)
    click.echo(f"lab {lab.name} is ready; from another terminal, meshnet lab: {steering}")
    click.echo("Ctrl-C ends it all")
    try:
        lab.serve()
    except KeyboardInterrupt:
        click.echo("stopping")

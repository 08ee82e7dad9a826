"""``meshnet lab``: try a mesh on one machine, by hand or as a check."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

import click

from meshnet.cli import views
from meshnet.lab.check import check_mesh, result_table
from meshnet.lab.hosts import MAX_HOSTS, LabError, Underlay, check_tools
from meshnet.lab.mesh import LabMesh
from meshnet.lab.rootless import become_root_of_a_user_namespace
from meshnet.lab.topology import TOPOLOGIES

_FULL_MESH_S = 30.0


@click.group()
def lab() -> None:
    """Whole meshes on this machine, in network namespaces; nothing is left behind."""


@lab.command()
@click.option("--hosts", type=click.IntRange(1, MAX_HOSTS), default=3, show_default=True)
@click.option(
    "--topology",
    type=click.Choice(list(TOPOLOGIES)),
    default="full",
    show_default=True,
    help="Which hosts reach each other on the underlay; the others are reached through peers.",
)
@click.option("--check", is_flag=True, help="Ping all pairs, measure, print a table, and end.")
def run(hosts: int, topology: str, check: bool) -> None:
    """Start HOSTS hosts with a node each, and wait until all reach all. Ctrl-C ends it.

    As root or, where the system allows user namespaces and /dev/net/tun, as anybody.
    """
    check_tools(("ping", "iputils-ping"))
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
    with LabMesh(hosts, topology=topology) as mesh:
        mesh.wait_full_mesh(_FULL_MESH_S, tell)
        if not check:
            _until_interrupted(mesh)
            return
        results = check_mesh(mesh, tell)
        views.show(result_table(results))
        failed = [result for result in results if not result.passed]
    tell("everything is removed")
    if failed:
        raise LabError(f"{len(failed)} of {len(results)} pairs failed")


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _until_interrupted(mesh: LabMesh) -> None:
    for host in mesh.hosts:
        click.echo(
            f"{host.nickname}: overlay {host.overlay_ipv4} {host.overlay_ipv6}, "
            f"underlay {Underlay.ipv4(host.number)}\n"
            f"    enter:  nsenter -t {host.namespace.pid} -n\n"
            f"    ask:    {sys.executable} -m meshnet status --api {host.api}"
        )
    click.echo("Ctrl-C ends it all")
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("stopping")

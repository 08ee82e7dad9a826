"""`meshnet reset`: leave the mesh for good."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from meshnet.cli.show import show
from meshnet.client import Client
from meshnet.errors import ApiError
from meshnet.paths import default_state_dir

# A node says goodbye, gives its devices back and syncs its disk meanwhile.
_END_TIMEOUT_S = 20.0
_POLL_S = 0.05


@click.command()
@click.option("--force", is_flag=True, help="Do not ask.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar="MESHNET_STATE_DIR",
    help="That of a node which does not run.",
)
@click.option(
    "--api",
    type=click.Path(path_type=Path, readable=False),
    envvar="MESHNET_API",
    help="Unix socket of the node.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.pass_context
def reset(
    ctx: click.Context, force: bool, state_dir: Path | None, api: Path | None, as_json: bool
) -> None:
    """Leave the mesh for good: say goodbye, end the node, remove its state and devices.

    The peer's identity is gone then: the next start is a new peer. Works, too, where the node does
    not run or was killed; then --state-dir says where its state is.
    """
    client = Client(api)
    if not force:
        _ask()
    if client.answers:
        if ctx.get_parameter_source("state_dir") is ParameterSource.COMMANDLINE:
            raise ApiError("the node is running and knows its state; leave out --state-dir")
        left = client.reset()
        _wait_for_end(client, Path(left["state_dir"]))
        removed = [left["state_dir"]]
    else:
        if api is not None and state_dir is None:
            raise ApiError(f"no node at {api}: give --state-dir, too, to remove the state of one")
        removed = _clean(state_dir or default_state_dir(), client.path)
    if as_json:
        show(lambda: {"removed": removed}, as_json)
    for each in () if as_json else removed:
        click.echo(f"removed {each}")
    if not as_json and not removed:
        click.echo("nothing to remove")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise ApiError("this removes the peer's identity and state; confirm it with --force")
    click.confirm("Leave the mesh for good, and remove this peer's identity and state?", abort=True)


def _wait_for_end(client: Client, state_dir: Path) -> None:
    """Until the node has given everything back."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while client.answers or _is_there(state_dir / "identity"):
        if time.monotonic() > deadline:
            raise ApiError("the node has left the mesh but does not end; see its log")
        time.sleep(_POLL_S)


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):  # Not for us to see, so not for us to wait for.
        return path.exists()
    return False


def _clean(state_dir: Path, api: Path) -> list[str]:
    """No node runs: a process of the node's own code removes what there is."""
    command = [sys.executable, "-m", "meshnet.node.reset"]
    done = subprocess.run(
        [*command, "--state-dir", str(state_dir), "--api", str(api)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it has failed"]
        raise ApiError(said[-1].removeprefix("meshnet.node: "))
    return done.stdout.splitlines()

"""Where a node keeps its files by default, for the node and for who looks for it."""

from __future__ import annotations

import os
from pathlib import Path


def default_api_path() -> Path:
    """The unix socket of this user's node: as ``$MESHNET_API`` says, or the usual place."""
    if given := os.environ.get("MESHNET_API"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/run/meshnet/meshnet.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(runtime) if runtime else _user_state()) / "meshnet" / "meshnet.sock"


def default_state_dir() -> Path:
    """The state directory of this user's node."""
    if os.geteuid() == 0:
        return Path("/var/lib/meshnet")
    return _user_state() / "meshnet"


def _user_state() -> Path:
    """XDG Base Directory Specification: state that should survive a restart."""
    given = os.environ.get("XDG_STATE_HOME")
    return Path(given) if given else Path.home() / ".local" / "state"

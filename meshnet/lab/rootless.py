"""A lab without root: the same process again, as root of a user namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from meshnet.lab.hosts import LabError

_UNSHARE = ["unshare", "--user", "--map-root-user", "--net"]
_TUN = Path("/dev/net/tun")


def become_root_of_a_user_namespace() -> NoReturn:
    """Replace this process by the same command, run as root of a new user namespace.

    The kernel takes everything made in there back with the last process. Raises LabError where the
    system does not allow it.
    """
    if shutil.which("unshare") is None:
        raise LabError("without root a lab needs unshare: install util-linux, or run as root")
    allowed = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        said = " ".join(allowed.stderr.split())
        raise LabError(f"this system does not allow user namespaces ({said}): run as root")
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise LabError(f"no access to {_TUN} (chmod 666 {_TUN} gives it to all): run as root")
    command = [*_UNSHARE, sys.executable, "-m", "meshnet", *sys.argv[1:]]
    os.execvp(command[0], command)

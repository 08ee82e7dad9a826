"""A `meshnet lab run` in another terminal, for the tests that steer it by its commands."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from meshnet.lab.control import LabStatus
from netns.tools import MESHNET, environment, wait_until

READY_S = 60.0


class LabCommand:
    """A lab whose process a test started, with a directory for temporary files of its own."""

    def __init__(self, scratch: Path, *options: str, inside: Sequence[str] = ()) -> None:
        """``inside``: the command line that goes before that of the lab."""
        self.scratch = scratch
        self.output = scratch / "output"
        self._environment = {**environment(), "TMPDIR": str(scratch)}
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(
                [*inside, *MESHNET, "lab", "run", *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )

    def wait_ready(self) -> None:
        wait_until(self._is_ready, READY_S, "a lab that is ready")

    def _is_ready(self) -> bool:
        said = self.output.read_text()
        assert self.process.poll() is None, said
        return "Ctrl-C ends it all" in said

    def meshnet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the ``meshnet`` command as in another terminal of the lab's user."""
        return subprocess.run(
            [*MESHNET, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self._environment,
        )

    def tell(self, *arguments: str) -> str:
        """What a command of ``meshnet lab`` that succeeds says."""
        done = self.meshnet("lab", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def status(self) -> LabStatus:
        return cast(LabStatus, json.loads(self.tell("status", "--json")))

    def end(self) -> None:
        """As Ctrl-C does; killed where that does not help."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def lab_command(scratch: Path, *options: str, inside: Sequence[str] = ()) -> Iterator[LabCommand]:
    """A lab that is ready."""
    lab = LabCommand(scratch, *options, inside=inside)
    try:
        lab.wait_ready()
        yield lab
        assert "Traceback" not in lab.output.read_text()
    finally:
        lab.end()

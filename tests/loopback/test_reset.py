"""`meshnet reset`, as users run it: of a node that runs, of one that was killed, of none."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from meshnet.client import Client
from meshnet.errors import ApiError
from support.node_process import LOCAL, environment, node_command


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.02)


def is_up(api: Path) -> bool:
    try:
        return Client(api).report()["ready"]
    except ApiError:
        return False


@contextmanager
def running(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node that serves its API; killed at the end, if it has not ended by then."""
    directory.mkdir(exist_ok=True)
    process = subprocess.Popen(
        node_command(directory, "--password", "x", *options),
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: is_up(directory / "api.sock"))
        yield process
    finally:
        process.kill()
        process.wait()


def reset(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Of the node whose API is in ``directory``, if one runs."""
    return subprocess.run(
        [sys.executable, "-m", "meshnet", "reset", "--api", directory / "api.sock", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )


def test_a_running_node_leaves_for_good_and_takes_its_state_along(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with running(one) as staying:
        address = Client(one / "api.sock").report()["listen"]
        with running(other, address) as leaving:
            client = Client(one / "api.sock")
            until(lambda: len(client.report()["peers"]) == 2)
            done = reset(other, "--force")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == f"removed {other / 'state'}\n"
            assert leaving.wait(10) == 0
            assert list(other.iterdir()) == []
            until(lambda: len(client.report()["peers"]) == 1)
            assert client.report()["control"]["counters"]["removals"] == 1
        assert staying.poll() is None


def test_nothing_is_removed_without_a_yes(tmp_path: Path) -> None:
    with running(tmp_path / "one") as process:
        done = reset(tmp_path / "one")
        assert (done.returncode, done.stdout) == (1, "")
        assert "confirm it with --force" in done.stderr
        assert done.stderr.count("\n") == 1
        assert process.poll() is None
        assert (tmp_path / "one" / "state" / "identity").exists()


def test_what_a_killed_node_has_left_is_removed_and_what_others_put_there_stays(
    tmp_path: Path,
) -> None:
    one = tmp_path / "one"
    with running(one) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    state, api = one / "state", one / "api.sock"
    assert stat.S_ISSOCK(api.stat().st_mode)
    (state / "notes").write_text("mine")
    done = reset(one, "--force")
    assert done.returncode == 1
    assert "no node at" in done.stderr
    assert "give --state-dir, too" in done.stderr
    done = reset(one, "--force", "--state-dir", str(state))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"removed {api}", f"removed {state}"]
    assert not api.exists()
    assert [path.name for path in state.iterdir()] == ["notes"]


def test_where_there_is_nothing_nothing_is_removed(tmp_path: Path) -> None:
    done = reset(tmp_path, "--force", "--state-dir", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (0, "nothing to remove\n")
    assert not (tmp_path / "none").exists()


def test_a_node_without_its_socket_keeps_its_state(tmp_path: Path) -> None:
    one = tmp_path / "one"
    with running(one) as process:
        (one / "api.sock").unlink()
        done = reset(one, "--force", "--state-dir", str(one / "state"))
        assert (done.returncode, done.stdout) == (1, "")
        assert "is in use by another node" in done.stderr
        assert (one / "state" / "identity").exists()
        assert process.poll() is None


def test_what_cannot_be_removed_is_told_in_one_line(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "identity").mkdir(parents=True)
    done = reset(tmp_path, "--force", "--state-dir", str(state))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"meshnet: cannot remove the state in {state}: ")
    assert done.stderr.count("\n") == 1


def test_a_reset_peer_starts_again_as_another(tmp_path: Path) -> None:
    one = tmp_path / "one"
    with running(one):
        before = Client(one / "api.sock").report()["name"]
        assert reset(one, "--force", "--json").returncode == 0
    with running(one, "--listen", LOCAL):
        assert Client(one / "api.sock").report()["name"] != before

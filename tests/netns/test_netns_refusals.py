"""What cannot be is refused with one line that says what to do, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from meshnet.lab.hosts import Namespace, Underlay
from netns.tools import (
    NODE,
    PORT,
    Node,
    assert_no_traceback,
    devices,
    environment,
    listening,
    node_arguments,
    one_line,
    tcp_listener,
    udp_socket,
)

Wrapper = Sequence[str]
PLAIN: Wrapper = ()
NOBODY = 65534


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Namespace]]:
    with Underlay(2) as underlay:
        yield underlay.hosts


@pytest.fixture
def host(hosts: list[Namespace]) -> Iterator[Namespace]:
    """A host on which nothing may be left when the test is over."""
    [one, _] = hosts
    yield one
    assert devices(one) == {"lo", "eth0"}
    assert listening(one) == ""


def refusal(
    host: Namespace,
    directory: Path,
    *options: str,
    wrapper: Wrapper = PLAIN,
    statuses: tuple[int, ...] = (1,),
) -> str:
    """The line by which a node refuses to start; it has left no device and no socket."""
    before = devices(host), listening(host)
    command = [*wrapper, *NODE, *node_arguments(directory), *options]
    line = one_line(host.run("env", "-i", *variables(), *command), *statuses)
    assert (devices(host), listening(host)) == before
    return line


def variables() -> list[str]:
    return [f"{key}={value}" for key, value in environment().items()]


# Refused by the other end.


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (["--password", "a"], ["--password", "b"], "wrong password"),
        (["--password", "a"], [], "wrong password"),
        (["--network", "a"], ["--network", "b"], "other network"),
    ],
    ids=["other password", "no password", "other network"],
)
def test_both_ends_say_why_they_do_not_link(
    hosts: list[Namespace], scratch: Path, ours: list[str], theirs: list[str], reason: str
) -> None:
    one, two = hosts
    dialled = f"{Underlay.ipv4(1)}:{PORT}"
    with (
        Node(one, scratch / "1", "--no-tap", *ours) as listener,
        Node(two, scratch / "2", "--no-tap", *theirs, Underlay.ipv4(1)) as dialler,
    ):
        row = dialler.connection(lambda row: row["state"] == "failed")
        assert row["address"] == dialled
        assert reason in row["reason"]
        assert row["peer"] == ""
        assert reason in refused_line(dialler)
        assert reason in refused_line(listener)
        for node in (listener, dialler):
            assert [peer["name"] for peer in node.report()["peers"]] == [node.report()["name"]]
            assert_no_traceback(node.log_text())


def refused_line(node: Node) -> str:
    [line] = [text for text in node.log_text().splitlines() if "link refused" in text]
    return line


@pytest.mark.parametrize(
    "own", [Underlay.ipv4(1), f"[{Underlay.ipv6(1)}]", "127.0.0.1", "[::1]"], ids=str
)
def test_own_address_as_peer_is_named_and_not_dialled_for_ever(
    hosts: list[Namespace], scratch: Path, own: str
) -> None:
    with Node(hosts[0], scratch / "1", "--no-tap", own) as node:
        row = node.connection(lambda row: row["state"] == "failed")
        assert "own address" in row["reason"]
        # Ours is both ends of that link: one of them says so, once.
        [line] = [text for text in node.log_text().splitlines() if "own address" in text]
        assert "own address left out" in line
        assert "link refused" not in node.log_text()


def test_a_copied_state_directory_is_named_at_both_ends(
    hosts: list[Namespace], scratch: Path
) -> None:
    with Node(hosts[0], scratch / "1", "--no-tap") as one:
        copy = scratch / "2" / "state"
        copy.mkdir(parents=True)
        for name in ("identity", "life.json"):
            source = one.directory / "state" / name
            (copy / name).write_bytes(source.read_bytes())
            (copy / name).chmod(0o600)
        with Node(hosts[1], scratch / "2", "--no-tap", Underlay.ipv4(1)) as two:
            row = two.connection(lambda row: row["state"] == "failed")
            assert "same identity" in row["reason"]
            assert "same identity" in refused_line(one)


# Ports.


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_port_in_use(host: Namespace, scratch: Path, kind: str, address: str) -> None:
    take: Callable[[Namespace, str, int], socket.socket]
    take = tcp_listener if kind == "TCP" else udp_socket
    with take(host, address, PORT):
        line = refusal(host, scratch, "--no-tap")
    assert f"{kind} " in line
    assert "in use" in line
    assert str(PORT) in line


def test_a_listening_address_that_is_not_this_host_s(host: Namespace, scratch: Path) -> None:
    line = refusal(host, scratch, "--no-tap", "--listen", Underlay.ipv4(2))
    assert "not one of this host" in line


# Options.


@pytest.mark.parametrize(
    "cidr",
    [
        *("10.0.0.1", "10.0.0.1/33", "300.1.1.1/24", "10.0.0/24", "10.0.0.1/", "", "/24", "x/y"),
        *("10.0.0.0/24", "10.0.0.255/24", "224.0.0.1/24", "127.0.0.1/8", "0.0.0.0/0"),
        *("fd00::1", "fd00::1/129", "fd00::zz/64", "fd00::/64", "ff02::1/64", "::1/128"),
    ],
)
def test_a_bad_cidr(host: Namespace, scratch: Path, cidr: str) -> None:
    line = refusal(host, scratch, "--address", cidr, statuses=(1, 2))
    assert f"--address {cidr}" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nonsense"], "--nonsense"),
        (["--mtu", "large"], "--mtu"),
        (["--log-level", "loud"], "--log-level"),
        (["--tap"], "--tap"),
    ],
    ids=" ".join,
)
def test_wrong_usage(host: Namespace, scratch: Path, options: list[str], said: str) -> None:
    assert said in refusal(host, scratch, *options, statuses=(2,))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mtu", "100"], "mtu 100"),
        (["--password-file", "/nonexistent"], "/nonexistent"),
        ([f"--password={number}" for number in range(9)], "at most 8 passwords and keys"),
        (["--listen", "nowhere:99999"], "99999"),
        (["--advertise", "host-a"], "host-a"),
        (["--tap", "a-name-that-is-too-long"], "a-name-that-is-too-long"),
        (["--tap", "a/b"], "a/b"),
        (["host:0"], "host:0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_unusable_setting(host: Namespace, scratch: Path, options: list[str], said: str) -> None:
    assert said in refusal(host, scratch, *options)


# The device.


def mounted(mount: str) -> Wrapper:
    """Runs the rest in a mount namespace where ``mount`` was done first."""
    return ("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh")


def test_no_tun_device(host: Namespace, scratch: Path) -> None:
    # /dev as a container without the device has it.
    dev = scratch / "dev"
    dev.mkdir()
    kept = ("null", "zero", "random", "urandom")
    binds = [f"touch {dev}/{name}; mount --bind /dev/{name} {dev}/{name}" for name in kept]
    mount = "; ".join([f"mount -t tmpfs none {dev}", *binds, f"mount --move {dev} /dev"])
    line = refusal(host, scratch, wrapper=mounted(mount))
    assert "/dev/net/tun" in line
    assert "--no-tap" in line


def test_without_a_tun_device_a_node_runs_with_no_tap(host: Namespace, scratch: Path) -> None:
    wrapper = mounted("mount -t tmpfs none /dev/net")
    command = [*wrapper, *NODE, *node_arguments(scratch), "--no-tap"]
    process = host.start(*command)
    try:
        node = Node(host, scratch)
        node.process = process
        node.wait_up()
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_no_permission_without_cap_net_admin(host: Namespace, scratch: Path) -> None:
    wrapper = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    line = refusal(host, scratch, wrapper=wrapper)
    assert "no permission" in line
    assert "--no-tap" in line


@pytest.fixture
def as_nobody() -> Wrapper:
    wrapper = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    with contextlib.closing(Namespace()) as namespace:
        done = namespace.run(*wrapper, sys.executable, "-c", "import meshnet.node.run")
    if done.returncode != 0:
        pytest.skip("not on this machine: the user nobody cannot read the project or its Python")
    return wrapper


def test_no_permission_for_a_user_who_is_not_root(host: Namespace, as_nobody: Wrapper) -> None:
    with tempfile.TemporaryDirectory(prefix="netns-") as directory:
        os.chown(directory, NOBODY, NOBODY)
        line = refusal(host, Path(directory), wrapper=as_nobody)
    assert "no permission" in line
    assert "--no-tap" in line


def test_a_user_who_is_not_root_runs_a_node_with_no_tap(
    host: Namespace, as_nobody: Wrapper
) -> None:
    with tempfile.TemporaryDirectory(prefix="netns-") as directory:
        os.chown(directory, NOBODY, NOBODY)
        node = Node(host, Path(directory))
        command = [*as_nobody, *NODE, *node_arguments(Path(directory)), "--no-tap"]
        node.process = host.start(*command)
        with contextlib.ExitStack() as stack:
            stack.callback(node.kill)
            node.wait_up()
            assert node.stop() == 0


@pytest.mark.parametrize(
    "make",
    ["link add mesh0 type veth peer name other", "tuntap add mesh0 mode tap", "link set eth0 up"],
    ids=["a veth", "a persistent TAP", "the underlay's"],
)
def test_a_tap_name_in_use(host: Namespace, scratch: Path, make: str) -> None:
    host.ip(make)
    name = "mesh0" if "mesh0" in make else "eth0"
    line = refusal(host, scratch, "--tap", name)
    assert f"TAP {name}" in line
    assert "exists" in line
    assert "--tap" in line
    assert name in devices(host), "the device of somebody else was taken"
    if name == "mesh0":
        host.ip("link delete mesh0")


def test_a_tap_name_in_use_by_another_node(host: Namespace, scratch: Path) -> None:
    with Node(host, scratch / "1"):
        line = refusal(host, scratch / "2", "--listen", ":6790")
        assert "TAP mesh0" in line
        assert "exists" in line


# The state directory.


def test_a_state_directory_in_use_by_another_node(host: Namespace, scratch: Path) -> None:
    with Node(host, scratch / "1", "--no-tap"):
        state = scratch / "1" / "state"
        line = refusal(host, scratch, "--no-tap", "--listen", ":6790", "--state-dir", str(state))
        assert str(state) in line
        assert "in use by another node" in line


def test_a_state_directory_that_cannot_be_written(host: Namespace, scratch: Path) -> None:
    (scratch / "file").touch()
    (scratch / "state").mkdir()
    read_only = mounted(f"mount -t tmpfs -o ro none {scratch}/state")
    for wrapper, state in (
        (PLAIN, "/proc/state"),
        (PLAIN, f"{scratch}/file"),
        (PLAIN, f"{scratch}/file/state"),
        (read_only, f"{scratch}/state"),
    ):
        line = refusal(host, scratch, "--no-tap", "--state-dir", state, wrapper=wrapper)
        assert f"state directory {state}" in line
        assert "--state-dir" in line


def test_a_full_disk_below_the_state_directory(host: Namespace, scratch: Path) -> None:
    (scratch / "state").mkdir()
    full = (
        f"mount -t tmpfs -o size=8k none {scratch}/state; head -c 8k /dev/zero >{scratch}/state/x"
    )
    line = refusal(host, scratch, "--no-tap", wrapper=mounted(full))
    assert f"{scratch}/state" in line
    assert "No space left" in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("identity", b""),
        ("identity", b"not hex at all\n"),
        ("identity", b"00" * 31),
        ("identity", bytes(range(128, 192))),
        ("life.json", b""),
        ("life.json", b"{"),
        ("life.json", b"[]"),
        ("life.json", b'{"incarnation": 1}'),
        ("life.json", b'{"incarnation": 1, "generation": -1}'),
        ("life.json", b'{"incarnation": "x", "generation": 1}'),
        ("life.json", b'{"incarnation": 1, "generation": 1e999}'),
        ("life.json", b"\xff\xfe"),
    ],
)
def test_a_damaged_state_file(host: Namespace, scratch: Path, name: str, content: bytes) -> None:
    damaged = scratch / "state" / name
    damaged.parent.mkdir()
    damaged.write_bytes(content)
    damaged.chmod(0o600)
    line = refusal(host, scratch, "--no-tap")
    assert f"{damaged} is damaged" in line
    assert damaged.read_bytes() == content, "what a person may want to restore was overwritten"


def test_an_identity_that_others_can_read(host: Namespace, scratch: Path) -> None:
    with Node(host, scratch, "--no-tap") as node:
        assert node.stop() == 0
    identity = scratch / "state" / "identity"
    assert identity.stat().st_mode & 0o777 == 0o600
    identity.chmod(0o644)
    line = refusal(host, scratch, "--no-tap")
    assert f"chmod 600 {identity}" in line


# The API socket.


def test_an_api_socket_of_a_live_node(host: Namespace, scratch: Path) -> None:
    with Node(host, scratch / "1", "--no-tap") as node:
        line = refusal(host, scratch, "--no-tap", "--listen", ":6790", "--api", str(node.api))
        assert str(node.api) in line
        assert "--api" in line
        assert node.is_up


def test_an_api_path_that_is_a_file(host: Namespace, scratch: Path) -> None:
    (scratch / "api.sock").write_text("mine")
    line = refusal(host, scratch, "--no-tap")
    assert "a file is in the way" in line
    assert (scratch / "api.sock").read_text() == "mine"


@pytest.mark.parametrize("api", ["/proc/api.sock", "/dev/null/api.sock", "/tmp/" + "x" * 200])
def test_an_api_path_that_cannot_be_made(host: Namespace, scratch: Path, api: str) -> None:
    line = refusal(host, scratch, "--no-tap", "--api", api)
    assert f"cannot serve the API at {api}" in line


def test_the_socket_of_a_killed_node_is_replaced(host: Namespace, scratch: Path) -> None:
    with Node(host, scratch, "--no-tap") as node:
        node.kill()
        left = node.api.stat().st_ctime_ns
        node.start()
        assert node.is_up
        assert node.api.stat().st_ctime_ns != left
        assert node.api.stat().st_mode & 0o777 == 0o660
        assert node.stop() == 0


def test_a_name_that_does_not_resolve_is_shown_with_its_reason(
    hosts: list[Namespace], scratch: Path
) -> None:
    with Node(hosts[0], scratch, "--no-tap", "no-such-host.invalid") as node:
        row = node.connection(lambda row: bool(row["reason"]))
        assert row["state"] in ("retrying", "connecting")
        assert row["address"] == f"no-such-host.invalid:{PORT}"


def test_a_host_that_refuses_the_connection_is_shown_with_its_reason(
    hosts: list[Namespace], scratch: Path
) -> None:
    with Node(hosts[0], scratch, "--no-tap", Underlay.ipv4(2)) as node:
        row = node.connection(lambda row: bool(row["reason"]))
        assert "refused" in row["reason"].lower()


@pytest.mark.parametrize("versions", [(2, 9), (0, 0)], ids=["newer", "older"])
def test_a_dialled_peer_of_another_version_is_named(
    hosts: list[Namespace], scratch: Path, versions: tuple[int, int]
) -> None:
    with (
        tcp_listener(hosts[1], Underlay.ipv4(2), PORT) as listener,
        Node(hosts[0], scratch, "--no-tap", Underlay.ipv4(2)) as node,
    ):
        accepted, _ = listener.accept()
        with accepted:
            theirs = accepted.recv(20, socket.MSG_WAITALL)
            accepted.sendall(theirs[:8] + bytes(versions) + theirs[10:])
            # It says so to us as well: a close in clear, with the code for other version.
            said = b""
            while data := accepted.recv(1024):
                said += data
        assert said.endswith(b"\x00\x02\x02\x02")
        row = node.connection(lambda row: row["state"] == "failed")
        assert "other version" in row["reason"]
        assert "other version" in refused_line(node)

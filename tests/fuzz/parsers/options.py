"""Any file, environment or command line is a NodeConfig, or is refused with one line.

The first byte chooses: the rest is a TOML file, the value of one variable, the value of one option,
or a password or key file.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz.plan import Plan
from meshnet.errors import ConfigError
from meshnet.node.options import NodeConfig, parse_options
from meshnet.wire.identity import PSK_BYTES

COVERS = (
    "meshnet.node.options:parse_options",
    "meshnet.node.options:_check_device_name",
    "meshnet.node.options:_interface",
    "meshnet.node.options:_address",
    "meshnet.node.secret_files",
    "meshnet.node.sources:_from_environment",
    "meshnet.node.sources:_from_file",
    "meshnet.node.sources:_of_file",
    "meshnet.node.sources:_converted",
    "meshnet.wire.identity:psk_of_key_text",
)

_FILE, _VARIABLE, _OPTION, _SECRET = range(4)
_NAMES = (
    *("nickname", "network", "listen", "advertise", "trusted-subnets", "conn-limit", "tap"),
    *("bridge", "address", "mtu", "state-dir", "api", "status-addr", "metrics", "log-level"),
    *("log-format", "password", "no-tap", "no-discovery", "peers"),
)
_SWITCHES = ("no-tap", "no-discovery")


def check(data: bytes) -> None:
    plan = Plan(data)
    kind = plan.number() % 4
    if kind == _FILE:
        text = plan.rest()
        # Files that a file names are somebody's own, and not to be opened by chance.
        if b"file" not in text and b"\\" not in text:
            _with_file(text, lambda path: _config(["--config", str(path)], {}))
    elif kind == _SECRET:
        option = ("--password-file", "--key-file")[plan.number() % 2]
        _with_file(plan.rest(), lambda path: _secret(option, path))
    else:
        name = _NAMES[plan.number() % len(_NAMES)]
        # No argument and no variable can have a zero byte.
        value = plan.rest().replace(b"\0", b"").decode(errors="surrogateescape")
        if kind == _VARIABLE:
            _config([], {f"MESHNET_{name.replace('-', '_').upper()}": value})
        else:
            given = [value] if name == "peers" else [f"--{name}={value}"]
            _config([f"--{name}"] if name in _SWITCHES else given, {})


def _config(arguments: list[str], environment: dict[str, str]) -> NodeConfig | None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parse_options(arguments, environment)
    except ConfigError as error:
        assert str(error)
        assert "\n" not in str(error), f"not one line: {error}"
    except SystemExit as exit_:
        # Wrong usage, or --help and such.
        assert exit_.code in (0, 2)
        assert exit_.code == 0 or said.getvalue().count("\n") == 1, said.getvalue()
    return None


def _secret(option: str, path: Path) -> None:
    config = _config([option, str(path)], {})
    if config is not None:
        secret = config.mesh.psk if option == "--key-file" else config.mesh.password
        assert secret
        assert isinstance(secret, str) or len(secret) == PSK_BYTES


def _with_file(content: bytes, use: Callable[[Path], object]) -> None:
    with tempfile.NamedTemporaryFile(dir=_memory()) as file:  # Of mode 0600.
        file.write(content)
        file.flush()
        use(Path(file.name))


def _memory() -> str | None:
    """Where files are kept in memory, if anywhere."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def seeds() -> Iterator[bytes]:
    for text in (
        'nickname = "a"\npeers = ["host-b", "host-c:1"]\nmtu = 1400\nno-discovery = true\n',
        'password = ["one", "two"]\nno-tap = true\nlog-level = "debug"\n',
        'address = "10.32.0.1/12"\nbridge = "meshbr0"\ntap = "mesh1"\nstatus-addr = ":1"\n',
        'address = ["10.32.0.1/12", "10.32.0.1/16"]\n',
        'address = "10.32.0.1/12"\nno-tap = true\n',
        'bridge = "mesh0"\n',
        'tap = "a/b"\n',
        'tap = ""\n',
        'trusted-subnets = "10.0.0.0/8,fd00::/8"\nmetrics = "x:1"\nconn-limit = 3\n',
        "nickname = 3\n",
        "mtu = true\n",
        'mtu = "1400"\n',
        "no-tap = 1\n",
        "peers = [1]\n",
        'nicknam = "a"\n',
        'config = "other"\n',
        'log-level = "loud"\n',
        "mtu = 99999999999999999999\n",
        "conn-limit = -1\n",
        "nickname = \n",
        'state-dir = "/nowhere"\n',
        "[table]\n",
        'trusted-subnets = "a\\nb/8"\n',
    ):
        yield bytes((_FILE,)) + text.encode()
    yield bytes((_FILE,)) + b"\xff"
    values = (
        *("", "0", "1", "x", "-1", "a,b", "10.0.0.1/8", "10.32.0.0/12", "10.32.0.1", "fd00::1/64"),
        *("224.0.0.1/4", "127.0.0.1/8", "debug", "json", "[::1]:1", ":x", "1400", "a\nb", "\u0663"),
        *("10.0.0.0/8", "a\nb/8", "10.0.0.1\n/8", "-", "--", "99999"),
    )
    for number in range(len(_NAMES)):
        for turn, value in enumerate(values):
            yield bytes(((_VARIABLE, _OPTION)[(number + turn) % 2], number)) + value.encode()
    yield bytes((_OPTION, _NAMES.index("advertise"))) + b"--"
    key = b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    for secret in (
        key,
        key + b"\r\nmore",
        key[:-4],
        b"",
        b"\n",
        b"\xff",
        b"pass word",
        b"\xc3\xbc",
    ):
        for which in range(2):
            yield bytes((_SECRET, which)) + secret

"""The node's options: the one table of them, and what they make (design section 9)."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from meshnet.aio.config import DEFAULT_PORT, MeshConfig
from meshnet.discovery.neighbours import DEFAULT_DEGREE
from meshnet.errors import ConfigError
from meshnet.ids import split_host_port
from meshnet.linux.addresses import Interface
from meshnet.node.secret_files import read_secrets
from meshnet.node.sources import AppendSecret, merged, misspelt
from meshnet.paths import default_api_path, default_state_dir
from meshnet.peering.linking import DEFAULT_CONN_LIMIT
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.values import Value
from meshnet.version import __version__

# Linux: IFNAMSIZ, less the final zero.
MAX_DEVICE_NAME_BYTES = 15
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LOG_LEVELS = ("debug", "info", "warning", "error")


class NodeConfig(Value):
    """Everything one node is told.

    ``tap`` is None when it runs without a device, ``bridge`` when the TAP is a port of none.
    ``ignored_variables`` of the environment are no options, but look like some.
    """

    mesh: MeshConfig
    tap: str | None
    bridge: str | None
    addresses: tuple[Interface, ...]
    state_dir: Path
    api: Path
    status_addr: tuple[str, int] | None
    metrics: tuple[str, int] | None
    ignored_variables: tuple[str, ...]
    log_level: str
    log_format: str


def parse_options(arguments: Sequence[str], environment: Mapping[str, str]) -> NodeConfig:
    """The node's configuration. Raises ConfigError; exits with 2 on wrong usage, as argparse does.

    >>> parse_options(["--no-tap", "--nickname", "a", "host-b"], {}).mesh.peers
    ('host-b',)
    """
    parser = _parser()
    ignored = tuple(misspelt(parser, environment))
    options = merged(parser, arguments, environment)
    tap = None if options.no_tap else options.tap
    for option, name in (("--tap", tap), ("--bridge", options.bridge)):
        if name is not None:
            _check_device_name(option, name)
    addresses = tuple(_interface(text) for text in options.address)
    for given, value in (("--address", addresses), ("--bridge", options.bridge)):
        if value and tap is None:
            raise ConfigError(f"{given} needs a TAP device; leave out --no-tap")
    if options.bridge == tap and tap is not None:
        raise ConfigError(f"--bridge {tap}: that is the TAP's own name; choose another")
    for number, address in enumerate(addresses):
        if address.ip in (earlier.ip for earlier in addresses[:number]):
            raise ConfigError(f"--address {address}: {address.ip} is given twice; leave one out")
    offered, *others = read_secrets(options.secrets) or (None,)
    mesh = MeshConfig(
        nickname=options.nickname,
        network=options.network,
        listen=options.listen,
        advertise=options.advertise,
        peers=options.peers,
        password=offered if isinstance(offered, str) else None,
        psk=offered if isinstance(offered, bytes) else None,
        also_accept=others,
        trusted_subnets=[each for text in options.trusted_subnets for each in text.split(",")],
        mtu=options.mtu,
        discovery=not options.no_discovery,
        conn_limit=options.conn_limit,
        degree=options.degree,
        peer_lease_s=_lease_s(options.peer_lease),
    )
    return NodeConfig(
        mesh=mesh,
        tap=tap,
        bridge=options.bridge,
        addresses=addresses,
        state_dir=options.state_dir,
        api=options.api,
        status_addr=_address("--status-addr", options.status_addr),
        metrics=_address("--metrics", options.metrics),
        ignored_variables=ignored,
        log_level=options.log_level,
        log_format=options.log_format,
    )


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a ``--help`` away."""

    def error(self, message: str) -> NoReturn:
        one_line = message.replace("\n", "\\n")
        self.exit(2, f"{self.prog}: {one_line} (see --help)\n")


def _path(text: str) -> Path:
    # An empty one is what a shell makes of a variable that is not set, not the working directory.
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="meshnet.node",
        description="Run one peer of a meshnet network in the foreground; SIGTERM stops it.",
        epilog="Each option is also an environment variable, e.g. MESHNET_NICKNAME, and a key of "
        "the file given by --config. The command line wins, then the environment, then the file. "
        "In the environment several values are separated by commas or spaces.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"meshnet {__version__}")
    add = parser.add_argument
    add("--config", metavar="FILE", help="TOML file with the options as keys")
    add(
        "peers",
        nargs="*",
        default=[],
        metavar="PEER",
        help="HOST[:PORT] to link to (MESHNET_PEERS)",
    )
    add("--nickname", default=_host_name(), help="name for people (default: host name)")
    add("--network", default="meshnet", help="peers of other networks are refused")
    add(
        "--listen",
        default=f":{DEFAULT_PORT}",
        metavar="[HOST]:PORT",
        help=f"TCP and UDP (default: [::]:{DEFAULT_PORT}, or 0.0.0.0 where IPv6 is off)",
    )
    add(
        "--advertise",
        action="append",
        default=[],
        metavar="ADDR[:PORT]",
        help="address others shall dial; repeatable (default: all non-loopback)",
    )
    add(
        "--password",
        action=AppendSecret,
        default=[],
        help="shared by the whole network; repeatable, with the two below: "
        "the first is offered, all are accepted",
    )
    add("--password-file", action=AppendSecret, default=[], metavar="FILE", help="its first line")
    add(
        "--key-file",
        action=AppendSecret,
        default=[],
        metavar="FILE",
        help="a key made by `meshnet genkey`",
    )
    add(
        "--trusted-subnets",
        action="append",
        default=[],
        metavar="CIDR",
        help="do not encrypt frames to peers there that trust our address likewise; repeatable",
    )
    add("--no-discovery", action="store_true", help="dial only the peers given here")
    add(
        "--conn-limit",
        type=int,
        default=DEFAULT_CONN_LIMIT,
        metavar="N",
        help=f"links to this many peers at most (default: {DEFAULT_CONN_LIMIT})",
    )
    add(
        "--degree",
        type=int,
        default=DEFAULT_DEGREE,
        metavar="N",
        help="be linked to everybody while that is this many; in a larger mesh to about so many, "
        f"and to the rest through them (default: {DEFAULT_DEGREE})",
    )
    add(
        "--peer-lease",
        default="14d",
        metavar="TIME",
        help="forget peers that are gone for so long: 14d, 24h, 90m, or never (default: 14d)",
    )
    add("--tap", default="mesh0", metavar="NAME", help="name of the TAP device (default: mesh0)")
    add("--no-tap", action="store_true", help="run without a device")
    add(
        "--bridge",
        metavar="NAME",
        help="Linux bridge to make the TAP a port of, made when missing, such as meshbr0; "
        "the addresses go on it (default: none)",
    )
    add(
        "--address",
        action="append",
        default=[],
        metavar="CIDR",
        help="IPv4 or IPv6 address of this host on the overlay, with prefix length; repeatable",
    )
    mtu, state_dir, api = DEFAULT_OVERLAY_MTU, default_state_dir(), default_api_path()
    add("--mtu", type=int, default=mtu, help=f"of the overlay, alike everywhere (default: {mtu})")
    add(
        "--state-dir",
        type=_path,
        default=state_dir,
        metavar="DIR",
        help=f"identity and such (default: {state_dir})",
    )
    add("--api", type=_path, default=api, metavar="PATH", help=f"unix socket (default: {api})")
    add(
        "--status-addr",
        default="",
        metavar="[HOST]:PORT",
        help="serve report, status and /healthz by HTTP, read-only, to anyone (default: off)",
    )
    add(
        "--metrics",
        default="",
        metavar="[HOST]:PORT",
        help="serve /metrics for Prometheus, to anyone; may be the same address (default: off)",
    )
    add("--log-level", choices=_LOG_LEVELS, default="info", help="default: info")
    add("--log-format", choices=("text", "json"), default="text", help="default: text")
    return parser


def _host_name() -> str:
    return socket.gethostname().partition(".")[0]


def _check_device_name(option: str, name: str) -> None:
    # Linux: dev_valid_name(). A `%` would make the kernel choose a number.
    encoded = name.encode(errors="surrogateescape")
    allowed = name not in (".", "..") and not any(c in "/:%" or c.isspace() for c in name)
    if not 0 < len(encoded) <= MAX_DEVICE_NAME_BYTES or not allowed:
        raise ConfigError(
            f"{option} {name!r}: a device's name has 1 to {MAX_DEVICE_NAME_BYTES} bytes, "
            "without blanks, '/', ':' or '%'"
        )


def _interface(text: str) -> Interface:
    try:
        if "/" not in text:
            raise ValueError("the prefix length is missing")
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise ConfigError(
            f"--address {text}: {error}; write CIDR such as 10.32.0.1/12 or fd00::1/64"
        ) from None
    ip, network = interface.ip, interface.network
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified:
        raise ConfigError(f"--address {text}: not an address a host can have on a network")
    if network.num_addresses > 2 and (
        ip == network.network_address or (ip.version == 4 and ip == network.broadcast_address)
    ):
        raise ConfigError(f"--address {text}: that is the network itself, not a host in it")
    return interface


def _lease_s(text: str) -> float | None:
    if text == "never":
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not (number.isascii() and number.isdigit()):
        raise ConfigError(f"--peer-lease {text!r}: write such as 14d, 24h, 90m, 600s, or never")
    return float(int(number[:12]) * _UNITS_S[unit])


def _address(option: str, text: str) -> tuple[str, int] | None:
    """(host, port) to serve on; an empty host is every address. None: not asked for."""
    if not text:
        return None
    try:
        return split_host_port(text, None)
    except ValueError as error:
        raise ConfigError(f"{option} {error}; write [HOST]:PORT") from None


def fail(message: str) -> NoReturn:
    """One line on stderr, exit 1: refused or failed."""
    sys.stderr.write(f"meshnet.node: {message}\n")
    raise SystemExit(1)

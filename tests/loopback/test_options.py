"""Options and environment: one table, one clear line per mistake."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from meshnet.errors import ConfigError
from meshnet.node.options import parse_options


def test_the_defaults_are_those_of_the_contract() -> None:
    config = parse_options([], {})
    assert config.mesh.network == "meshnet"
    assert config.mesh.listen_address() == ("", 6783)
    assert config.mesh.mtu == 1376
    assert config.tap == "mesh0"
    assert config.bridge is None
    assert config.mesh.is_open


def test_the_command_line_wins_over_the_environment() -> None:
    environment = {"MESHNET_NICKNAME": "env", "MESHNET_NETWORK": "env-net"}
    config = parse_options(["--nickname", "line"], environment)
    assert (config.mesh.nickname, config.mesh.network) == ("line", "env-net")


def test_repeatable_options_come_from_the_environment_too() -> None:
    environment = {
        "MESHNET_PEERS": "host-b,host-c:1",
        "MESHNET_ADDRESS": "10.32.0.1/12 fd00::1/64",
        "MESHNET_NO_DISCOVERY": "1",
    }
    config = parse_options([], environment)
    assert config.mesh.peers == ("host-b", "host-c:1")
    assert [str(address) for address in config.addresses] == ["10.32.0.1/12", "fd00::1/64"]
    assert not config.mesh.discovery


def test_a_bridge_and_addresses_of_both_families_can_be_given() -> None:
    addresses = ["10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::2/64"]
    given = [word for address in addresses for word in ("--address", address)]
    config = parse_options(["--bridge", "meshbr0", *given], {})
    assert config.bridge == "meshbr0"
    assert [str(address) for address in config.addresses] == addresses
    assert parse_options([], {"MESHNET_BRIDGE": "meshbr0"}).bridge == "meshbr0"


def test_peers_on_the_command_line_replace_those_of_the_environment() -> None:
    assert parse_options(["b"], {"MESHNET_PEERS": "a"}).mesh.peers == ("b",)


@pytest.mark.parametrize(
    ("arguments", "environment", "match"),
    [
        (["--address", "10.0.0.1"], {}, "prefix length is missing"),
        (["--address", "10.0.0.0/33"], {}, "write CIDR such as"),
        (["--address", "10.0.0.256/24"], {}, "write CIDR such as"),
        (["--address", "10.0.0.0/24"], {}, "the network itself"),
        (["--address", "10.0.0.255/24"], {}, "the network itself"),
        (["--address", "fd00::/64"], {}, "the network itself"),
        (["--address", "224.0.0.1/4"], {}, "not an address a host can have"),
        (["--address", "::1/128"], {}, "not an address a host can have"),
        (["--no-tap", "--address", "10.0.0.1/24"], {}, "leave out --no-tap"),
        (["--no-tap", "--bridge", "br0"], {}, "--bridge needs a TAP device"),
        (["--tap", "m0", "--bridge", "m0"], {}, "the TAP's own name"),
        (["--bridge", "a-name-of-16-byte"], {}, "1 to 15 bytes"),
        (["--bridge", "br%d"], {}, "1 to 15 bytes"),
        (["--bridge", "br 0"], {}, "without blanks"),
        (["--bridge", "a/b"], {}, "without blanks"),
        (["--bridge", ".."], {}, "without blanks"),
        (["--tap", ""], {}, "1 to 15 bytes"),
        (["--address", "10.0.0.1/24", "--address", "10.0.0.1/8"], {}, "given twice"),
        (["--address", "fd00::1/64", "--address", "fd00:0::1/64"], {}, "given twice"),
        (["--password", "a", "--password-file", "/nonexistent"], {}, "No such file"),
        (["--trusted-subnets", "10.0.0.1"], {}, "prefix length is missing; write CIDR such as"),
        (["--trusted-subnets", "10.0.0.1/8"], {}, "has host bits set; write CIDR such as"),
        (["--key-file", "/nonexistent"], {}, "--key-file /nonexistent: No such file"),
        ([f"--password={n}" for n in range(9)], {}, "at most 8 passwords and keys"),
        (["--password", ""], {}, "password is empty"),
        (["--password-file", "/nonexistent"], {}, "No such file"),
        (["--listen", "host:99999"], {}, "not a port"),
        (["--listen", "[::1"], {}, r"\[ADDR\]:PORT"),
        (["--advertise", "host"], {}, "write IP or IP:PORT"),
        (["--advertise", "224.0.0.1"], {}, "nobody can dial that"),
        (["--mtu", "100"], {}, "use 1280 to 9000"),
        (["--conn-limit", "0"], {}, "conn-limit 0: use 1 or more"),
        (["--degree", "3"], {}, "degree 3: use 4 or more"),
        (["--peer-lease", "14"], {}, "--peer-lease '14': write such as 14d"),
        (["--peer-lease", "²d"], {}, "--peer-lease '²d': write such as 14d"),
        (["--peer-lease", ""], {}, "--peer-lease '': write such as 14d"),
        (["--peer-lease", "59s"], {}, "peer-lease 59.0: use 60 s or more, or never"),
        (["--status-addr", "127.0.0.1"], {}, "a port is missing; write .HOST.:PORT"),
        (["--status-addr", "6784"], {}, "a port is missing; write .HOST.:PORT"),
        (["--metrics", "host:x"], {}, "--metrics 'host:x': 'x' is not a port"),
        (["--metrics", "::1"], {}, "a port is missing"),
        (["--nickname", "x" * 65], {}, "at most 64"),
        (["--nickname", "a\nb"], {}, "control characters"),
        (["--network", ""], {}, "1 to 64"),
        ([":6783"], {}, "write HOST or HOST:PORT"),
        (["host:"], {}, "no port after the colon"),
        (["host..example"], {}, "not a host name"),
        (["a b"], {}, "peer 'a b': 'a b' is not a host name"),
        (["300.1.1.1"], {}, "is no IPv4 address"),
        (["http://foo"], {}, "write HOST or HOST:PORT, not a URL"),
        (["::1:6783"], {}, r"write \[::1:6783\] or \[::1\]:6783"),
        (["--", "-x"], {}, "'-x' is not a host name"),
        (["--listen", "a b:1"], {}, "'a b' is not a host name"),
        (["--advertise", "::1:6783"], {}, r"write \[::1:6783\] or"),
        (["--status-addr", "300.1.1.1:80"], {}, "is no IPv4 address"),
        (["x" * 70], {}, "not a host name"),
        (["--network", "caf\udce9"], {}, "not UTF-8"),
        (["--password", "caf\udce9"], {}, "not UTF-8"),
        (["--config", ""], {}, "name of the file is empty"),
        ([], {"MESHNET_MTU": "big"}, "MESHNET_MTU=big: not a number"),
        ([], {"MESHNET_NO_TAP": "yes"}, "use 1 or 0"),
        ([], {"MESHNET_LOG_LEVEL": "loud"}, "use one of"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    arguments: list[str], environment: dict[str, str], match: str
) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        parse_options(arguments, environment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mtu", "x"],
        ["--unknown"],
        ["--un\nknown"],
        ["--log-level", "loud"],
        ["--advertise=--"],
        ["--state-dir", ""],
        ["--api="],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(arguments, {})
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


KEYS = [bytes((number,)) * 32 for number in range(3)]


def secret_file(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


def key_file(directory: Path, number: int) -> str:
    text = base64.b64encode(KEYS[number]).decode() + "\n"
    return secret_file(directory / f"key{number}", text)


def test_secrets_of_all_kinds_keep_the_order_of_the_command_line(tmp_path: Path) -> None:
    word = secret_file(tmp_path / "word", "from file\n")
    key = key_file(tmp_path, 1)
    options = ["--password", "one", "--key-file", key, "--password-file", word, "--password", "two"]
    config = parse_options(options, {}).mesh
    assert (config.password, config.psk) == ("one", None)
    assert config.also_accept == (KEYS[1], "from file", "two")
    config = parse_options(options[2:], {}).mesh
    assert (config.password, config.psk) == (None, KEYS[1])
    assert config.also_accept == ("from file", "two")


def test_secrets_of_a_file_keep_its_order_and_those_of_a_later_source_replace_all(
    tmp_path: Path,
) -> None:
    first, second = key_file(tmp_path, 1), key_file(tmp_path, 2)
    text = f'key-file = ["{first}", "{second}"]\npassword = ["a", "b"]\n'
    file = write(tmp_path, text)
    config = parse_options(["--config", file], {}).mesh
    assert (config.psk, config.also_accept) == (KEYS[1], (KEYS[2], "a", "b"))
    environment = {"MESHNET_CONFIG": file, "MESHNET_KEY_FILE": f"{second},{first}"}
    config = parse_options([], environment).mesh
    assert (config.psk, config.also_accept) == (KEYS[2], (KEYS[1],))
    config = parse_options(["--password", "line"], environment).mesh
    assert (config.password, config.also_accept) == ("line", ())


def test_trusted_subnets_are_given_one_by_one_or_as_a_list() -> None:
    options = ["--trusted-subnets", "10.0.0.0/8,fd00::/8", "--trusted-subnets", "192.0.2.0/24"]
    assert parse_options(options, {}).mesh.trusted_subnets == (
        "10.0.0.0/8",
        "fd00::/8",
        "192.0.2.0/24",
    )
    environment = {"MESHNET_TRUSTED_SUBNETS": "10.0.0.0/8,fd00::/8"}
    assert parse_options([], environment).mesh.trusted_subnets == ("10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize("option", ["--password-file", "--key-file"])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, option: str) -> None:
    path = tmp_path / "secret"
    secret_file(path, "secret\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"{option} .* is open to others; run: chmod 600") as said:
        parse_options([option, str(path)], {})
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("text", ["not base64!", "c2hvcnQ=", "password"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = secret_file(tmp_path / "key", text + "\n")
    with pytest.raises(ConfigError, match="`meshnet genkey` makes one"):
        parse_options(["--key-file", path], {})


def test_a_password_file_gives_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    secret_file(path, "s3cret with spaces\nsecond line\n")
    assert parse_options(["--password-file", str(path)], {}).mesh.password == "s3cret with spaces"


def test_repeatables_of_the_command_line_replace_those_of_the_environment() -> None:
    config = parse_options(["--address", "10.0.0.1/24"], {"MESHNET_ADDRESS": "10.9.9.9/24"})
    assert [str(address) for address in config.addresses] == ["10.0.0.1/24"]


def test_a_password_on_the_command_line_replaces_that_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "password"
    secret_file(path, "file\n")
    options = ["--password-file", str(path)]
    assert parse_options(options, {"MESHNET_PASSWORD": "env"}).mesh.password == "file"


def test_variables_that_look_like_a_misspelt_option_are_named() -> None:
    environment = {
        "MESHNET_PASSWORD_FLE": "x",
        "MESHNET_LOGLEVEL": "debug",
        "MESHNET_PEER": "host-b",
        "MESHNET_IMAGE": "somebody's own",
        "MESHNET_MTU": "1300",
        "PATH": "/bin",
    }
    assert parse_options([], environment).ignored_variables == (
        "MESHNET_LOGLEVEL (did you mean MESHNET_LOG_LEVEL?)",
        "MESHNET_PASSWORD_FLE (did you mean MESHNET_PASSWORD_FILE?)",
        "MESHNET_PEER (did you mean MESHNET_PEERS?)",
    )


def test_what_kubernetes_sets_for_a_service_called_meshnet_is_no_option() -> None:
    """As seen in a pod beside services `meshnet` (6783 TCP and UDP) and `meshnet-status`."""
    environment = {
        "MESHNET_SERVICE_HOST": "10.96.0.7",
        "MESHNET_SERVICE_PORT": "6783",
        "MESHNET_SERVICE_PORT_LISTEN": "6783",
        "MESHNET_PORT": "tcp://10.96.0.7:6783",
        "MESHNET_PORT_6783_TCP": "tcp://10.96.0.7:6783",
        "MESHNET_PORT_6783_TCP_PROTO": "tcp",
        "MESHNET_PORT_6783_TCP_PORT": "6783",
        "MESHNET_PORT_6783_TCP_ADDR": "10.96.0.7",
        "MESHNET_PORT_6783_UDP": "udp://10.96.0.7:6783",
        "MESHNET_STATUS_SERVICE_HOST": "10.96.0.8",
        "MESHNET_STATUS_PORT": "tcp://10.96.0.8:6784",
    }
    assert parse_options([], environment) == parse_options([], {})


def test_status_and_metrics_have_addresses_of_their_own_or_one() -> None:
    config = parse_options(["--status-addr", ":6784", "--metrics", "[::1]:9100"], {})
    assert (config.status_addr, config.metrics) == (("", 6784), ("::1", 9100))
    config = parse_options([], {"MESHNET_METRICS": "127.0.0.1:9100"})
    assert (config.status_addr, config.metrics) == (None, ("127.0.0.1", 9100))


def test_an_empty_variable_is_not_set() -> None:
    assert parse_options([], {"MESHNET_STATE_DIR": ""}).state_dir != Path()


def test_secrets_do_not_show_in_reprs() -> None:
    assert "s3cret" not in repr(parse_options(["--password", "s3cret"], {}))


def test_an_empty_password_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    secret_file(path, "\n")
    with pytest.raises(ConfigError, match="first line is empty"):
        parse_options(["--password-file", str(path)], {})


TOML = """
nickname = "file"
network = "file-net"
log-level = "debug"
mtu = 1400
no-discovery = true
peers = ["host-b", "host-c:1"]
address = "10.0.0.1/24"
password-file = "/nonexistent"
"""


def write(tmp_path: Path, text: str) -> str:
    return secret_file(tmp_path / "meshnet.toml", text)


def test_a_file_gives_options_that_environment_and_command_line_replace(tmp_path: Path) -> None:
    file = write(tmp_path, TOML)
    environment = {"MESHNET_CONFIG": file, "MESHNET_NETWORK": "env-net", "MESHNET_MTU": "1300"}
    config = parse_options(["--mtu", "1290", "--password", "line"], environment)
    assert (config.mesh.nickname, config.mesh.network, config.mesh.mtu) == ("file", "env-net", 1290)
    assert (config.log_level, config.mesh.discovery) == ("debug", False)
    assert config.mesh.peers == ("host-b", "host-c:1")
    assert [str(address) for address in config.addresses] == ["10.0.0.1/24"]
    assert config.mesh.password == "line"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nikname = 'x'", "no option 'nikname'; see --help .did you mean nickname"),
        ("mtu = 'big'", "use a number"),
        ("mtu = true", "use a number"),
        ("state-dir = ''", "the name is empty"),
        ("no-tap = 1", "use true or false"),
        ("peers = [1]", "a string, or a list of strings"),
        ("nickname = 3", "use a string"),
        ("log-level = 'loud'", "use one of"),
        ("nickname =", "Invalid value"),
        ("config = 'x'", "no option 'config'"),
        ("[node]", "no option 'node'"),
        (r"password-file = '/etc/a\u0000'".replace("'", '"'), "a zero byte is in it"),
        (r"peers = ['a\u0000']".replace("'", '"'), "a zero byte is in it"),
        ("mtu = " + "1" * 5000, "digits"),
        ("mtu = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        parse_options(["--config", write(tmp_path, text)], {})
    assert "\n" not in str(caught.value)


def test_a_file_with_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    for text, refused in (("password = 'a'", True), ("password-file = '/nonexistent'", False)):
        file = write(tmp_path, text)
        Path(file).chmod(0o644)
        match = "chmod 600" if refused else "/nonexistent: No such file"
        with pytest.raises(ConfigError, match=match):
            parse_options(["--config", file], {})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "password = {s3cret = 's3cret'}"),
        ([], "password = ['s3cret', 1]"),
        (["--password", "s3cret\udcff"], ""),
        (["--password", "a", "--password", "s3cret\udcff"], ""),
    ],
    ids=["no text", "no texts", "not UTF-8", "not UTF-8, later"],
)
def test_what_is_wrong_with_a_password_is_said_without_it(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    # It ends up in the log.
    with pytest.raises(ConfigError, match="password") as said:
        parse_options([*arguments, "--config", write(tmp_path, text)], {})
    assert "s3cret" not in str(said.value)


def test_a_file_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ConfigError, match="--config /nonexistent: No such file"):
        parse_options(["--config", "/nonexistent"], {})


@pytest.mark.parametrize(
    ("text", "lease_s"), [("14d", 1209600.0), ("36h", 129600.0), ("90m", 5400.0), ("never", None)]
)
def test_a_lease_is_a_number_with_a_unit_or_never(text: str, lease_s: float | None) -> None:
    assert parse_options(["--peer-lease", text], {}).mesh.peer_lease_s == lease_s

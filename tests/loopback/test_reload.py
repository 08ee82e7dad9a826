"""Settings that change while a peer runs: passwords above all, and not a frame is lost."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner

from meshnet import Mesh, MeshConfig
from meshnet.aio import mesh as mesh_module
from meshnet.cli.commands import cli
from meshnet.errors import ConfigError
from meshnet.node.options import NodeConfig, parse_options
from meshnet.node.reload import Reloader
from meshnet.testing import MemoryPort
from meshnet.wire.identity import psk_of_key_text
from support.frames import receive_data

OLD, NEW = b"\x01" * 32, b"\x02" * 32
BROADCAST, MAC = b"\xff" * 6, [bytes((2, 0, 0, 0, 0, number)) for number in range(3)]
REKEY_AFTER_S = 0.4


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 40))


def config_of(*secrets: bytes, **changes: object) -> MeshConfig:
    settings = {
        "listen": "127.0.0.1:0",
        "rekey_after_s": REKEY_AFTER_S,
        "psk": secrets[0],
        "also_accept": secrets[1:],
    }
    return MeshConfig(**(settings | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[list[Mesh], list[MemoryPort]]]:
    ports = [MemoryPort("one"), MemoryPort("other")]
    async with (
        Mesh(config_of(OLD), ports[0]) as one,
        Mesh(config_of(OLD, peers=[one.address]), ports[1]) as other,
    ):
        await asyncio.gather(one.wait_connected(), other.wait_connected())
        yield [one, other], ports
    for port in ports:
        port.close()


def test_passwords_are_rotated_without_losing_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "meshnet")

    async def test() -> None:
        async with linked() as (meshes, (here, there)):
            here.send(BROADCAST + MAC[0] + b"\x88\xb5" + b"here")
            await there.receive()
            number = 0
            # Accept the new one everywhere; offer it everywhere; drop the old one everywhere.
            for secrets in ((OLD, NEW), (NEW, OLD), (NEW,)):
                for mesh in meshes:
                    assert await mesh.reload(with_secrets(mesh.config, secrets)) == []
                    # Between any two steps the keys of link and session are renewed.
                    until = asyncio.get_running_loop().time() + 2 * REKEY_AFTER_S
                    while asyncio.get_running_loop().time() < until:
                        number += 1
                        frame = MAC[0] + MAC[1] + b"\x88\xb5" + str(number).encode()
                        there.send(frame)
                        assert await receive_data(here) == frame
                        await asyncio.sleep(0.01)
            said = [record.getMessage() for record in caplog.records]
            assert said.count("session renewed") >= 12
            assert not {"session lost", "link lost", "link refused"} & set(said)
            # Who has only the old one is out.
            async with Mesh(config_of(OLD, peers=[meshes[0].address])) as late:
                async with asyncio.timeout(5):
                    while not any(r["state"] == "failed" for r in late.report()["connections"]):
                        await asyncio.sleep(0.01)
                assert "wrong password" in late.report()["connections"][0]["reason"]

    run(test)


def with_secrets(config: MeshConfig, secrets: tuple[bytes, ...]) -> MeshConfig:
    return evolve(config, psk=secrets[0], also_accept=secrets[1:])


def test_a_peer_that_kept_only_a_removed_password_loses_link_and_session() -> None:
    async def test() -> None:
        async with linked() as (meshes, _):
            await meshes[0].reload(with_secrets(meshes[0].config, (NEW,)))
            async with asyncio.timeout(10 * REKEY_AFTER_S):
                while meshes[0].connected_peers() or meshes[1].connected_peers():
                    await asyncio.sleep(0.01)

    run(test)


def test_passwords_that_stay_are_not_stretched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stretched: list[str] = []

    def counted(password: str, network: str) -> bytes:
        stretched.append(password)
        return password.encode().ljust(32)

    monkeypatch.setattr(mesh_module, "psk_of_password", counted)

    async def test() -> None:
        config = MeshConfig(listen="127.0.0.1:0", password="a", also_accept=["b"])
        async with Mesh(config) as mesh:
            await mesh.reload(evolve(config, password="c", also_accept=("a", "b")))
            await mesh.reload(evolve(config, password="c", also_accept=()))
            await mesh.reload(evolve(config, password="a", also_accept=()))
        assert stretched == ["a", "b", "c", "a"]

    run(test)


def test_what_cannot_change_is_named_and_stays() -> None:
    async def test() -> None:
        config = config_of(OLD, peers=["192.0.2.1:1"])
        async with Mesh(config) as mesh:
            changed = evolve(config, mtu=1400, network="other", peers=("192.0.2.2:1",))
            assert await mesh.reload(changed) == ["network", "mtu"]
            assert (mesh.config.mtu, mesh.config.network) == (config.mtu, config.network)

    run(test)


def test_peers_left_out_are_forgotten_and_new_ones_dialled() -> None:
    async def test() -> None:
        config = config_of(OLD, peers=["192.0.2.1:1", "192.0.2.3:6783"])
        async with Mesh(config) as mesh:
            # Who was given at run time stays; one address may be written in two ways.
            mesh.connect("192.0.2.4:1")
            assert await mesh.reload(evolve(config, peers=("192.0.2.2:1", "192.0.2.3"))) == []
            dialled = [row["address"] for row in mesh.targets()]
            assert sorted(dialled) == ["192.0.2.2:1", "192.0.2.3:6783", "192.0.2.4:1"]
            assert await mesh.reload(evolve(config, peers=())) == []
            assert [row["address"] for row in mesh.targets()] == ["192.0.2.4:1"]

    run(test)


def test_the_link_to_a_peer_left_out_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "meshnet")

    def lost() -> list[str]:
        return [vars(r)["reason"] for r in caplog.records if r.getMessage() == "link lost"]

    async def test() -> None:
        async with Mesh(config_of(OLD, discovery=False)) as there:
            # Without discovery nothing else asks for the link.
            config = config_of(OLD, peers=[there.address], discovery=False)
            async with Mesh(config) as here:
                await here.wait_connected()
                await here.reload(evolve(config, peers=()))
                async with asyncio.timeout(5):
                    while len(lost()) < 2:  # At both ends.
                        await asyncio.sleep(0.01)
                assert "forgotten" in lost()
                assert here.targets() == []

    run(test)


def test_a_password_is_stretched_for_the_network_that_runs_not_the_one_that_waits() -> None:
    async def test() -> None:
        config = MeshConfig(listen="127.0.0.1:0", network="here", password="a")
        async with Mesh(config) as mesh:
            assert await mesh.reload(evolve(config, network="later", password="b")) == ["network"]
            peer = evolve(config, password="b", peers=(mesh.address,))
            async with Mesh(peer) as other:
                await other.wait_connected()

    run(test)


def test_what_is_advertised_changes() -> None:
    async def test() -> None:
        config = config_of(OLD)
        async with Mesh(config) as mesh:
            await mesh.reload(evolve(config, advertise=("192.0.2.7:7",)))
            assert mesh.report()["addresses"] == ["192.0.2.7:7"]
            await mesh.reload(config)
            assert mesh.report()["addresses"] == [mesh.address]

    run(test)


# The node.


@pytest.fixture
def level() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("level")
def test_a_node_reads_its_files_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "meshnet.toml"

    def write(text: str) -> None:
        file.touch(mode=0o600)
        file.write_text(f'no-tap = true\nlisten = "127.0.0.1:0"\n{text}')

    def read() -> NodeConfig:
        return parse_options(["--config", str(file)], {})

    async def test() -> None:
        write('password = "a"\n')
        config = read()
        async with Mesh(config.mesh) as mesh:
            reloader = Reloader(mesh, config, read)
            write('password = ["b", "a"]\nlog-level = "warning"\napi = "/elsewhere"\nmtu = 1400\n')
            assert await reloader.reload() == {"unchanged": ["mtu", "api"], "warnings": []}
            assert mesh.config.secrets == ("b", "a")
            assert mesh.report()["secrets"] == 2
            assert logging.getLogger().level == logging.WARNING
            [warning] = [r for r in caplog.records if r.levelno == logging.WARNING]
            assert vars(warning)["reason"] == "takes effect at the next start only: mtu, api"
            # Broken settings leave everything as it was, with one line.
            caplog.clear()
            write("mtu = 1\n")
            asked = asyncio.Event()
            follower = asyncio.ensure_future(reloader.follow(asked))
            asked.set()
            while not caplog.records:
                await asyncio.sleep(0.01)
            [error] = caplog.records
            assert error.levelno == logging.ERROR
            assert "mtu 1: use 1280 to 9000" in vars(error)["reason"]
            assert mesh.config.secrets == ("b", "a")
            assert not mesh.config.is_open
            with pytest.raises(ConfigError):
                await reloader.reload()
            follower.cancel()
            # No password left is not said in passing.
            caplog.clear()
            write("")
            for _ in range(2):
                [told] = (await reloader.reload())["warnings"]
                assert told.startswith("the network is open")
            assert caplog.text.count("the network is open") == 1
            assert (mesh.report()["open"], mesh.report()["secrets"]) == (True, 0)

    run(test)


def test_what_waits_for_the_next_start_is_called_as_its_option_is() -> None:
    async def test() -> None:
        other = {
            "LISTEN": "127.0.0.1:1",
            "NICKNAME": "x",
            "NETWORK": "x",
            "MTU": "1400",
            "NO_DISCOVERY": "1",
            "CONN_LIMIT": "9",
            "TAP": "x",
            "BRIDGE": "y",
            "ADDRESS": "10.32.0.1/12",
            "STATE_DIR": "/x",
            "API": "/x",
            "STATUS_ADDR": ":1",
            "METRICS": ":1",
            "LOG_FORMAT": "json",
        }

        def read() -> NodeConfig:
            return parse_options([], {f"MESHNET_{name}": value for name, value in other.items()})

        config = parse_options(["--listen", "127.0.0.1:0"], {})
        async with Mesh(config.mesh) as mesh:
            named = (await Reloader(mesh, config, read).reload())["unchanged"]
        assert {name.replace("-", "_").upper() for name in named} == set(other)

    run(test)


def test_genkey_makes_a_key_that_a_node_takes_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "network.key"
    assert CliRunner().invoke(cli, ["genkey", str(path)]).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert parse_options(["--key-file", str(path)], {}).mesh.psk == psk_of_key_text(text)
    refused = CliRunner().invoke(cli, ["genkey", str(path)])
    assert isinstance(refused.exception, ConfigError)
    assert path.read_text() == text
    printed = CliRunner().invoke(cli, ["genkey"]).output
    assert psk_of_key_text(printed) != psk_of_key_text(text)

"""Who is here: every peer says what it does, and is seen to leave about a second after its death.

`presence.py NICKNAME PEER` is one that takes part. Without arguments this is the first peer: it
starts two others, kills one (its kernel tells all), freezes the other (nobody says anything, as
when a host loses power), and lets that one go on.
"""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import Process

from meshnet import Channel, Mesh, MeshConfig
from meshnet.crdt import LwwMap

LOOPBACK = "127.0.0.1:0"  # any free port
ASK_EVERY_S = 0.25


class Presence:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.said: Channel[LwwMap] = mesh.channel("presence", LwwMap)

    def here(self) -> set[str]:
        """Words outlive who said them: here is to whom a way leads."""
        ways = {str(self.mesh.name), *(route["peer"] for route in self.mesh.report()["routes"])}
        return {what.decode() for peer, what in self.said.value.items() if peer in ways}

    async def take_part(self, what: str) -> None:
        """Say so, then keep asking all others: a death shows by a question without an answer."""
        await self.said.update(LwwMap.put, str(self.mesh.name), what.encode())
        async with asyncio.TaskGroup() as questions:
            while True:
                for peer in self.mesh.connected_peers():
                    questions.create_task(self.mesh.ping(peer))
                await asyncio.sleep(ASK_EVERY_S)


async def be(nickname: str, address: str) -> None:
    async with Mesh(MeshConfig(nickname=nickname, listen=LOOPBACK, peers=[address])) as mesh:
        await Presence(mesh).take_part(f"{nickname} is reading")


async def until_here(presence: Presence, wanted: set[str], event: str, limit_s: float) -> None:
    start = time.monotonic()
    while {what[0] for what in presence.here()} != wanted:
        if time.monotonic() - start > limit_s:
            sys.exit(f"{event}, and after {limit_s} s here: {sorted(presence.here())}")
        await asyncio.sleep(0.01)
    print(f"{event}: after {time.monotonic() - start:.2f} s here: {sorted(presence.here())}")


async def main() -> None:
    others: dict[str, Process] = {}
    async with Mesh(MeshConfig(nickname="a", listen=LOOPBACK)) as mesh:
        presence = Presence(mesh)
        part = asyncio.create_task(presence.take_part("a is watching"))
        try:
            for name in "bc":
                argv = (sys.executable, __file__, name, mesh.address)
                others[name] = await asyncio.create_subprocess_exec(*argv)
            await until_here(presence, {"a", "b", "c"}, "started", 5.0)
            others["c"].kill()
            await until_here(presence, {"a", "b"}, "c was killed", 1.0)
            others["b"].send_signal(signal.SIGSTOP)
            await until_here(presence, {"a"}, "b fell silent", 2.5)
            others["b"].send_signal(signal.SIGCONT)
            await until_here(presence, {"a", "b"}, "b lives", 5.0)
        finally:
            part.cancel()
            for other in others.values():
                if other.returncode is None:
                    other.kill()
                await other.wait()


asyncio.run(be(*sys.argv[1:]) if sys.argv[1:] else main())

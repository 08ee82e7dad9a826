"""A set that three peers share over real links, and that outlives one of them.

Run without arguments this is the first peer. It starts two others as processes of their own, kills
one of them with SIGKILL in the middle, and sees that nothing is lost and the others go on.
"""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import Callable

from meshnet import Channel, Mesh, MeshConfig
from meshnet.crdt import OrSet

LOOPBACK = "127.0.0.1:0"  # any free port
WITHIN_S = 5.0


async def take_part(nickname: str, address: str) -> None:
    """Another peer: adds one thing, and says so when it sees that somebody asks for milk."""
    config = MeshConfig(nickname=nickname, listen=LOOPBACK, peers=[address])
    async with Mesh(config) as mesh:
        shopping = mesh.channel("shopping", OrSet)
        changes = shopping.changes()
        await shopping.update(OrSet.add, f"bread, says {nickname}")
        async for change in changes:
            if change.present and change.element == "milk":
                await shopping.update(OrSet.add, f"milk is fine, says {nickname}")


async def start_peer(nickname: str, address: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, __file__, nickname, address)


async def until(condition: Callable[[], bool], shopping: Channel[OrSet], hope: str) -> None:
    changes = shopping.changes()
    try:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                await anext(changes)
    except TimeoutError:
        sys.exit(f"not within {WITHIN_S:.0f} s: {hope}; there is {sorted(shopping.value)}")
    print(f"{hope}: {sorted(shopping.value)}")


async def main() -> None:
    async with Mesh(MeshConfig(nickname="a", listen=LOOPBACK)) as mesh:
        shopping = mesh.channel("shopping", OrSet)
        others = {name: await start_peer(name, mesh.address) for name in "bc"}
        try:
            await mesh.wait_connected(2)
            bread = {"bread, says b", "bread, says c"}
            await until(lambda: bread <= set(shopping.value), shopping, "both have written")

            others["c"].kill()
            await others["c"].wait()
            print("c was killed")
            await shopping.update(OrSet.add, "milk")
            answer = "milk is fine, says b"
            await until(lambda: answer in shopping.value, shopping, "b goes on")
            if not bread <= set(shopping.value):
                sys.exit("what c had written is lost")

            await shopping.update(OrSet.remove, "bread, says c")
            if "bread, says c" in shopping.value:
                sys.exit("what the dead peer wrote cannot be removed")
            print("and what c had written stays until somebody removes it")
        finally:
            for other in others.values():
                if other.returncode is None:
                    other.kill()
                    await other.wait()


asyncio.run(take_part(*sys.argv[1:]) if sys.argv[1:] else main())

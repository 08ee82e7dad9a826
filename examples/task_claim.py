"""Tasks shared out without a leader: claim one, wait until everybody can know, see who has it.

A claim is a write to a map that all hold. Of claims that did not see each other one wins, the same
for everybody; who still has its own after twice the time that news take may begin. So each task is
done once, while workers hear each other, and what a worker claimed that has gone is free again.

Cut apart, both sides do what is left: without a quorum nobody can know better. When they meet they
agree whose result counts, and see what was done twice. Let tasks be such that this does no harm.
"""

import asyncio
import random
import sys
from contextlib import AsyncExitStack

from meshnet import Mesh, MeshConfig
from meshnet.crdt import LwwMap, OrSet

SETTLED_S = 0.2  # twice what news take to reach everybody, and more


class Worker:
    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.name, self.nickname = mesh, str(mesh.name), mesh.config.nickname
        self.claims, self.results = mesh.channel("claims", LwwMap), mesh.channel("results", LwwMap)
        self.log = mesh.channel("log", OrSet)  # all that was ever done

    def is_free(self, task: str) -> bool:
        here = {self.name, *(route["peer"] for route in self.mesh.report()["routes"])}
        return (self.claims.value.get(task) or b"").decode() not in here

    async def claim(self, task: str) -> bool:
        await self.claims.update(LwwMap.put, task, self.name.encode())
        await asyncio.sleep(SETTLED_S)
        return self.claims.value.get(task) == self.name.encode()

    async def work(self, tasks: list[str]) -> None:
        while left := [task for task in tasks if task not in self.results.value]:
            # Any of them: who all want the first only get in each other's way.
            free = [task for task in left if self.is_free(task)]
            if free and await self.claim(task := random.choice(free)):
                await self.log.update(OrSet.add, f"{task} done by {self.nickname}")
                await self.results.update(LwwMap.put, task, self.nickname.encode())
            elif not free:
                await asyncio.sleep(SETTLED_S)


async def main() -> None:
    async with asyncio.timeout(20.0), AsyncExitStack() as meshes:

        async def worker(name: str, *peers: str) -> Worker:
            config = MeshConfig(nickname=name, listen="127.0.0.1:0", peers=peers)
            return Worker(await meshes.enter_async_context(Mesh(config)))

        a = await worker("a")
        others = [await worker(name, a.mesh.address) for name in "bc"]
        async with Mesh(MeshConfig(listen="127.0.0.1:0", peers=[a.mesh.address])) as mesh:
            await a.mesh.wait_connected(3)
            if await Worker(mesh).claim("task 1"):
                print("somebody has claimed task 1, and goes away")
        tasks = [f"task {number}" for number in range(1, 13)]
        await asyncio.gather(*(each.work(tasks) for each in [a, *others]))
        await asyncio.sleep(SETTLED_S)
        print("\n".join(sorted(a.log.value)))
        if len(list(a.log.value)) != len(tasks):
            sys.exit("a task was done twice")

        alone = await worker("d")
        await asyncio.gather(a.work(["report"]), alone.work(["report"]))
        alone.mesh.connect(a.mesh.address)
        await alone.mesh.wait_connected(3)
        await asyncio.sleep(SETTLED_S)
        twice = [what for what in a.log.value if what.startswith("report")]
        counts = {each.results.value["report"].decode() for each in (a, alone)}
        if len(twice) != 2 or len(counts) != 1:
            sys.exit(f"they do not agree: {twice}, {counts}")
        print(f"apart, two did the report; together they agree: that of {counts.pop()} counts")


asyncio.run(main())

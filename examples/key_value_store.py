"""A key-value store without a server: every peer has all of it, and answers by itself.

`key_value_store.py DIRECTORY [PEER ...]` is one peer; it reads lines: put KEY VALUE, get KEY, del
KEY, list. Without arguments it starts three, writes at one, reads at another, kills all with
SIGKILL, and sees that what one had acknowledged is there when it comes back alone.
"""

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from meshnet import Channel, FileState, Mesh, MeshConfig
from meshnet.crdt import OrMap


async def serve(directory: str, *peers: str) -> None:
    state, config = FileState(directory), MeshConfig(listen="127.0.0.1:0", peers=peers)
    async with Mesh(config, state=state) as mesh:
        store = mesh.channel("store", OrMap)
        print(mesh.address, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await answer(store, line.split(maxsplit=2)), flush=True)
    state.close()


async def answer(store: Channel[OrMap], words: list[str]) -> str:
    match words:
        case ["put", key, value]:
            await store.update(OrMap.put, key, value.strip().encode())  # returns from the disk
        case ["del", key]:
            await store.update(OrMap.remove, key)
        case ["get", key]:
            return store.value[key].decode() if key in store.value else ""
        case _:
            return " ".join(sorted(store.value))
    return "ok"


@asynccontextmanager
async def peer(*arguments: str) -> AsyncIterator[tuple[Process, str]]:
    """A peer as a process, and its address; killed at the end."""
    argv = (sys.executable, __file__, *arguments)
    process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
    try:
        yield process, await ask(process, "")
    finally:
        process.kill()
        await process.wait()


async def ask(peer: Process, line: str, expected: str | None = None) -> str:
    """What a peer answers; with ``expected``, asked until that is it."""
    assert peer.stdin
    assert peer.stdout
    async with asyncio.timeout(5.0):
        while True:
            peer.stdin.write(f"{line}\n".encode() if line else b"")
            said = (await peer.stdout.readline()).decode().strip()
            if expected in (None, said):
                return said


async def main(disk: str) -> None:
    async with peer(f"{disk}/a") as (_, address), AsyncExitStack() as others:
        b, c = [(await others.enter_async_context(peer(f"{disk}/{n}", address)))[0] for n in "bc"]
        await ask(b, "put colour blue")
        print("written at b, read at c: colour is", await ask(c, "get colour", "blue"))
        await ask(c, "put colour green")
    async with peer(f"{disk}/c") as (c, _):
        if (found := await ask(c, "get colour")) != "green":
            sys.exit(f"what was acknowledged is lost: {found}")
        print("all were killed; c comes back alone, and still knows: colour is green")


with tempfile.TemporaryDirectory() as disk:
    asyncio.run(serve(*sys.argv[1:]) if sys.argv[1:] else main(disk))

"""Two peers in one program: what one host sends comes out at the other, sealed on its way.

No TAP and no root: each mesh is given a port that lives in memory in place of a device.
"""

import asyncio
import sys

from meshnet import Mesh, MeshConfig
from meshnet.testing import MemoryPort

LOOPBACK = "127.0.0.1:0"  # any free port
BROADCAST, LEFT, RIGHT = b"\xff" * 6, b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
EXPERIMENTAL = b"\x88\xb5"


async def main() -> None:
    left, right = MemoryPort(), MemoryPort()
    async with Mesh(MeshConfig(nickname="left", listen=LOOPBACK), left) as a:
        config = MeshConfig(nickname="right", listen=LOOPBACK, peers=[a.address])
        async with Mesh(config, right) as b:
            await a.wait_connected()
            await b.wait_connected()
            print(f"{a.config.nickname} ({a.address}) and {b.config.nickname} found each other")

            hello = BROADCAST + LEFT + EXPERIMENTAL + b"hello, everybody"
            left.send(hello)
            if await right.receive() != hello:
                sys.exit("the frame that arrived is not the one that was sent")
            print("a frame to everybody went from left to right")

            # Who has sent is known now: this one goes to its host alone.
            answer = LEFT + RIGHT + EXPERIMENTAL + b"hello, left"
            right.send(answer)
            if await left.receive() != answer:
                sys.exit("the answer is not the one that was sent")
            print("and the answer from right to left")

            [connection] = a.report()["connections"]
            if not connection["encrypted"]:
                sys.exit("the frames went in clear")
            print(f"both sealed with {connection['cipher']}")


asyncio.run(main())

"""What a node among 20 peers takes of its host's memory (design section 12)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.crowd import crowd

PEERS = 20
MAX_MEMORY_BYTES = 40 * 1024 * 1024


def test_a_node_with_twenty_peers_fits_its_memory_budget(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(tmp_path, PEERS) as node:
            assert node.memory_bytes() <= MAX_MEMORY_BYTES

    asyncio.run(asyncio.wait_for(test(), 90))

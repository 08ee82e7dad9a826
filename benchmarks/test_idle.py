"""An idle node among 20 peers: its memory, and the share of a core it takes, without and with
status and metrics. Printed, not judged: `pytest benchmarks/test_idle.py -s`.

Design section 12: at most 40 MiB and 0.3 % of a core.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.crowd import crowd
from support.node_process import LOCAL

PEERS = 20
SPAN_S = 10.0
# After the start, when all that there is to say has been said.
SETTLE_S = 5.0


@pytest.mark.parametrize(
    "options", [(), ("--status-addr", LOCAL, "--metrics", LOCAL)], ids=["plain", "metrics"]
)
def test_idle(tmp_path: Path, options: tuple[str, ...]) -> None:
    async def test() -> None:
        async with crowd(tmp_path, PEERS, *options) as node:
            await asyncio.sleep(SETTLE_S)
            before = node.cpu_s()
            await asyncio.sleep(SPAN_S)
            share = (node.cpu_s() - before) / SPAN_S
            print(
                f"\n{PEERS} peers, idle: {node.memory_bytes() / 2**20:.1f} MiB, "
                f"{share:.2%} of a core over {SPAN_S:.0f} s"
            )

    asyncio.run(asyncio.wait_for(test(), 90))

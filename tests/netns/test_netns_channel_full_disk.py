"""A channel on a full disk, a real one of 1 MiB: refused, kept, and working again with room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DISK_BYTES = 2**20

_FILL_THE_DISK = """
import asyncio, sys
from pathlib import Path
from meshnet import Mesh, MeshConfig
from meshnet.crdt import LwwMap
from meshnet.errors import StateError
from meshnet.store.state import FileState

directory = Path(sys.argv[1])
others = directory / "others"
others.write_bytes(bytes(300_000))

def mesh(state):
    return Mesh(MeshConfig(listen="127.0.0.1:0", psk=bytes(32)), state=state)

async def main():
    acknowledged = {}
    state = FileState(directory / "state")
    async with mesh(state) as peer:
        large = peer.channel("large", LwwMap)
        while True:
            key = str(len(acknowledged))
            try:
                await large.update(LwwMap.put, key, bytes(5000))
            except StateError as error:
                line = str(error)
                break
            acknowledged[key] = bytes(5000)
        assert "No space left on device; make room" in line, line
        assert "\\n" not in line
        assert len(acknowledged) > 50, "the disk was not empty"
        assert dict(large.value.items()) == acknowledged, "undone, and nothing else"
        try:
            await large.update(LwwMap.put, "again", bytes(5000))
            raise SystemExit("taken on a full disk")
        except StateError:
            pass
        others.unlink()
        await large.update(LwwMap.put, "room again", b"")
        acknowledged["room again"] = b""
    state.close()
    state = FileState(directory / "state")
    async with mesh(state) as peer:
        assert dict(peer.channel("large", LwwMap).value.items()) == acknowledged
    state.close()
    print("kept")

asyncio.run(main())
"""


def test_a_channel_that_fills_its_disk_refuses_and_goes_on_with_room(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size={DISK_BYTES} none {tmp_path}"
    wrapper = ("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "sh")
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", _FILL_THE_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "kept\n"

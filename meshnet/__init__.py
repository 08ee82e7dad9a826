"""meshnet: a decentralised layer-2 network for hosts and containers.

The public names, loaded when first used, so that ``import meshnet`` costs next to nothing and
needs neither root nor an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshnet import errors as errors
    from meshnet import events as events
    from meshnet.aio.channel import Channel as Channel
    from meshnet.aio.config import MeshConfig as MeshConfig
    from meshnet.aio.mesh import Mesh as Mesh
    from meshnet.ids import Endpoint as Endpoint
    from meshnet.ids import PeerName as PeerName
    from meshnet.store.state import FileState as FileState
    from meshnet.version import __version__ as __version__

_HOMES = {
    "Channel": "meshnet.aio.channel",
    "Endpoint": "meshnet.ids",
    "FileState": "meshnet.store.state",
    "Mesh": "meshnet.aio.mesh",
    "MeshConfig": "meshnet.aio.config",
    "PeerName": "meshnet.ids",
    "__version__": "meshnet.version",
    "errors": "meshnet.errors",
    "events": "meshnet.events",
}

__all__ = [
    "Channel",
    "Endpoint",
    "FileState",
    "Mesh",
    "MeshConfig",
    "PeerName",
    "__version__",
    "errors",
    "events",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'meshnet' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_HOMES[name])
    return module if name in ("errors", "events") else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""What a thousand peers in one process may compute once.

Each of them verifies the same signature, parses the same delta and makes the same tree of it, as
each would on a host of its own. These are pure functions of bytes; here the first call's result
serves all. Nothing that goes over the network changes (a test compares digests of runs with and
without), but CPU time and memory are then those of the process, not the sum over peers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from meshnet.gossip import messages
from meshnet.gossip.fragments import Fragment
from meshnet.gossip.tree import Change, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.topology import records
from meshnet.wire import crypto

REMEMBERED = 1 << 16
# Larger ones are rare, and would be kept for long.
MAX_BODY_BYTES = 2048
MAX_CHANGES = 64


@contextmanager
def shared_work() -> Iterator[None]:
    """Within, equal work of different peers is done once."""
    with ExitStack() as patches:
        for original, shared in (
            (messages.parse_delta, _shared_parse_delta()),
            (messages.pack_delta, _shared_pack_delta()),
            (records.read_record, _shared_read_record()),
        ):
            for module in _users_of(original):
                patches.enter_context(mock.patch.object(module, original.__name__, shared))
        verify = functools.lru_cache(REMEMBERED)(crypto.ed25519_verify)
        patches.enter_context(mock.patch.object(crypto, "ed25519_verify", verify))
        patches.enter_context(mock.patch.object(Tree, "updated", _shared_updated()))
        yield


def _users_of(function: Callable[..., Any]) -> list[Any]:
    """The modules of ours that have ``function`` under its name."""
    return [
        module
        for name, module in sorted(sys.modules.items())
        if name.startswith("meshnet.") and vars(module).get(function.__name__) is function
    ]


def _shared_parse_delta() -> Callable[..., messages.Delta]:
    parse = messages.parse_delta
    remembered = functools.lru_cache(REMEMBERED)(parse)

    def parse_delta(body: bytes, **options: Any) -> messages.Delta:
        return parse(body, **options) if len(body) > MAX_BODY_BYTES else remembered(body, **options)

    return parse_delta


def _shared_pack_delta() -> Callable[..., bytes]:
    pack = messages.pack_delta
    cache: dict[object, bytes] = {}

    def pack_delta(channel: ChannelId, fragment: Fragment, base: Tree, **options: Any) -> bytes:
        key = (channel, fragment.head.raw, base.digest, tuple(options.items()))
        packed = cache.get(key)
        if packed is None:
            packed = pack(channel, fragment, base, **options)
            if len(packed) <= MAX_BODY_BYTES:
                _remember(cache, key, packed)
        return packed

    return pack_delta


def _shared_read_record() -> Callable[..., records.PeerRecord]:
    read = records.read_record
    cache: dict[object, records.PeerRecord] = {}

    def read_record(
        name: PeerName, public_key: bytes, entries: Mapping[bytes, bytes]
    ) -> records.PeerRecord:
        key = (name, public_key, *entries.items())
        record = cache.get(key)
        if record is None:
            record = read(name, public_key, entries)
            _remember(cache, key, record)
        return record

    return read_record


def _shared_updated() -> Callable[[Tree, Iterable[Change]], Tree]:
    update = Tree.updated
    cache: dict[object, Tree] = {}

    def updated(tree: Tree, changes: Iterable[Change]) -> Tree:
        changes = tuple(changes)
        if len(changes) > MAX_CHANGES:
            return update(tree, changes)
        key = (tree.digest, changes)
        result = cache.get(key)
        if result is None:
            result = update(tree, changes)
            _remember(cache, key, result)
        return tree if result.digest == tree.digest else result

    return updated


def _remember(cache: dict[Any, Any], key: object, result: object) -> None:
    if len(cache) >= REMEMBERED:
        del cache[next(iter(cache))]
    cache[key] = result

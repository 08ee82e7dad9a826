"""How much is held in memory, in objects: what a leak shows in, whatever it is of."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def objects_below(root: Any) -> int:
    """All that ``root`` refers to, code and what code refers to left out."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        it = waiting.pop()
        if id(it) not in seen and not isinstance(it, _CODE):
            seen.add(id(it))
            waiting.extend(gc.get_referents(it))
    return len(seen)

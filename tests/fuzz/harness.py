"""What a harness is, and where its corpus lies."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import define

from fuzz import parsers

CORPUS = Path(__file__).parent / "corpus"


@define(frozen=True)
class Harness:
    """One parser under test, as its module in `fuzz.parsers` describes it.

    The first line of that module's docstring is the ``invariant``; ``check`` takes any bytes at all
    and fails when it does not hold; ``seeds`` are inputs that get deep; ``covers`` names what the
    parser is: modules, and functions or classes as ``module:Name``.
    """

    name: str
    invariant: str
    covers: Sequence[str]
    check: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    def inputs(self) -> list[bytes]:
        """The seeds, and the files of the corpus."""
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [*self.seeds(), *(path.read_bytes() for path in found)]

    def keep(self, data: bytes) -> Path:
        """Make ``data`` part of the corpus; a file's name is the hash of its content."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / hashlib.sha1(data).hexdigest()
        path.write_bytes(data)
        return path


def names() -> list[str]:
    """All parsers. None is imported by asking."""
    return sorted(module.name for module in pkgutil.iter_modules(parsers.__path__))


def load(name: str) -> Harness:
    module = importlib.import_module(f"fuzz.parsers.{name}")
    invariant = (module.__doc__ or "").partition("\n")[0]
    return Harness(name, invariant, module.COVERS, module.check, module.seeds)

"""The examples of docs/commands.md, to be run as they stand."""

from __future__ import annotations

import re

from attrs import define

from support.tree import ROOT

COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@define(frozen=True)
class Example:
    """A fenced block: a command line, its exit status, and the beginning of what it shows."""

    command: str
    status: int
    output: tuple[str, ...]


def examples() -> list[Example]:
    """All of them, in order."""
    found = []
    for info, block in re.findall(r"^```console *(.*?)\n(.*?)^```", COMMANDS, re.M | re.S):
        first, *output = block.splitlines()
        assert first.startswith("$ "), first
        status = int(info.removeprefix("exit ")) if info else 0
        found.append(Example(first.removeprefix("$ "), status, tuple(output)))
    return found


def first_words(lines: list[str] | tuple[str, ...]) -> list[str]:
    """The first word of each line that begins with one, less what differs from run to run."""
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith(" ")]
    return [re.sub(r"[0-9a-f]{32}|\d+", "#", word) for word in words]

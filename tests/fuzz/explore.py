"""One run of atheris, whose own command line this takes: `python -m fuzz.explore PARSER [FLAG...]`.

A process of its own, since libFuzzer ends the process that it runs in.
"""

from __future__ import annotations

import shlex
import sys

import atheris

from fuzz.harness import load


def main() -> None:
    name, *flags = sys.argv[1:]
    with atheris.instrument_imports(include=["meshnet"]):
        check = load(name).check
    # To merge, libFuzzer gives its own command line to a shell.
    again = shlex.join([sys.executable, "-m", "fuzz.explore", name])
    atheris.Setup([again, *flags], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

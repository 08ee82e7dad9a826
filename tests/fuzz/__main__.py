"""`make fuzz`: lets atheris look for inputs that break an invariant, and keeps what it learnt.

Each parser gets so many minutes. An input that fails goes into the corpus, where the tier finds it
again until it is mended; of the others those that reach what neither seeds nor corpus did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.harness import Harness, load, names

MAX_INPUT_BYTES = 4096
TIMEOUT_S = 10
"""An input that takes longer is a failure too."""


def explore(harness: Harness, minutes: float) -> bool:
    """False when an input was found that fails."""
    with tempfile.TemporaryDirectory() as scratch:
        known, found, failed = (Path(scratch, name) for name in ("known", "found", "failed"))
        for folder in (known, found, failed):
            folder.mkdir()
        for number, data in enumerate(harness.inputs()):
            (known / str(number)).write_bytes(data)
        before = {path.name for path in known.iterdir()}
        _atheris(
            harness,
            f"-max_total_time={int(60 * minutes)}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={TIMEOUT_S}",
            f"-artifact_prefix={failed}/",
            "-print_final_stats=1",
            str(found),
            str(known),
        )
        _atheris(harness, "-merge=1", "-use_counters=0", str(known), str(found), quiet=True)
        news = [path for path in known.iterdir() if path.name not in before]
        failures = list(failed.iterdir())
        for path in [*news, *failures]:
            kept = harness.keep(path.read_bytes())
            print(f"{harness.name}: {'FAILS' if path in failures else 'new'}: {kept}")
        return not failures


def _atheris(harness: Harness, *flags: str, quiet: bool = False) -> None:
    output = subprocess.DEVNULL if quiet else None
    command = [sys.executable, "-m", "fuzz.explore", harness.name, *flags]
    subprocess.run(command, check=False, stdout=output, stderr=output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(names()))
    parser.add_argument("--minutes", type=float, default=1.0, help="for each (default: 1)")
    options = parser.parse_args()
    unknown = set(options.parsers) - set(names())
    if unknown:
        parser.error(f"no parser {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    wanted = [load(name) for name in options.parsers or names()]
    good = [explore(harness, options.minutes) for harness in wanted]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()

"""Many seeds of the random scenario, one after the other: `make deep SEEDS=1..3000`.

Each seed is one line of the results file, `seed digest result seconds`, where the result is `ok` or
`failed`. Seeds that stand there already are not run again, so a run can be broken off and taken up
at any time. What the lines say holds for the code that wrote them: remove the file for other code.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from meshnet.testing.scenario import Scenario

RESULTS = Path("deep-results.txt")
_INTERRUPTED = 130
"""What a shell reports for a process that ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every seed asked for is ok, now or before; 1: some failed."""
    parser = argparse.ArgumentParser(prog="python -m meshnet.testing.deep", description=__doc__)
    parser.add_argument("seeds", type=parse_seeds, help="one seed, or a range FIRST..LAST")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: %(default)s")
    options = parser.parse_args(arguments)
    seeds: range = options.seeds
    results: Path = options.results
    known = read_results(results)
    to_run = [seed for seed in seeds if seed not in known]
    say(f"{len(seeds)} seeds, {len(seeds) - len(to_run)} of them in {results} already")
    try:
        known |= run_seeds(to_run, results)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return _INTERRUPTED
    failed = [seed for seed in seeds if known[seed] != "ok"]
    say(f"{len(seeds) - len(failed)} ok, {len(failed)} failed {failed or ''}".rstrip())
    return 1 if failed else 0


def parse_seeds(text: str) -> range:
    """`7` or `1..3000`, both ends included. Raises argparse.ArgumentTypeError."""
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last if dots else first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r}: write a seed (7) or a range (1..3000)")
    return seeds


def read_results(path: Path) -> dict[int, str]:
    """Seed to result. Lines that a broken-off run left unfinished do not count."""
    results: dict[int, str] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = line.split()
            if len(fields) == 4 and fields[0].isdigit():
                results[int(fields[0])] = fields[2]
    return results


def run_seeds(seeds: Iterable[int], path: Path) -> dict[int, str]:
    """Run them all, and append a line for each as soon as it is known."""
    results: dict[int, str] = {}
    for seed in seeds:
        start = time.monotonic()
        scenario = Scenario(seed)
        try:
            outcome = scenario.run()
        except Exception:
            results[seed] = "failed"
            say(f"seed {seed}:\n{traceback.format_exc()}")
        else:
            results[seed] = "ok"
            say(f"seed {seed}: settled in {outcome.settled_s} s, {outcome.packets} packets")
        seconds = time.monotonic() - start
        _append(path, f"{seed} {scenario.cluster.trace.digest} {results[seed]} {seconds:.1f}")
    return results


def _append(path: Path, line: str) -> None:
    with path.open("ab") as file:
        # After an unfinished line, begin a new one.
        torn = path.is_file() and file.tell() > 0 and not path.read_bytes().endswith(b"\n")
        file.write(f"{chr(10) if torn else ''}{line}\n".encode())


def say(text: str) -> None:
    """One line for whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

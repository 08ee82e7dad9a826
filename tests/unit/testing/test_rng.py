"""Randomness that repeats, stream by stream."""

from __future__ import annotations

import subprocess
import sys

from meshnet.testing.rng import SeededRng


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    assert SeededRng(1)(64) == SeededRng(1)(64)
    assert SeededRng(1)(64) != SeededRng(2)(64)
    assert len(SeededRng(1)(7)) == 7


def test_a_stream_depends_on_its_name_alone() -> None:
    quiet, busy = SeededRng(1), SeededRng(1)
    busy.stream("newcomer")(1000)
    busy(10)
    assert quiet.stream("host", 3)(16) == busy.stream("host", 3)(16)


def test_names_are_told_apart() -> None:
    rng = SeededRng(1)
    drawn = [
        rng.stream(*names)(16) for names in [("a", "b"), ("a/b",), ("b", "a"), (1,), ("1",), ()]
    ]
    assert len(set(drawn)) == len(drawn)
    assert rng.stream("a").stream("b")(16) == rng.stream("a", "b")(16)


def test_it_is_the_same_in_every_process() -> None:
    program = "from meshnet.testing.rng import SeededRng; print(SeededRng(5, 'x')(16).hex())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hashes, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.strip()
        for hashes in ("1", "2")
    }
    assert seen == {SeededRng(5, "x")(16).hex()}


def test_chances_come_at_their_share() -> None:
    rng = SeededRng(1)
    assert 0.27 < sum(rng.chance(0.3) for _ in range(5000)) / 5000 < 0.33
    assert not any(rng.chance(0.0) for _ in range(100))

"""The example that needs a device, in a network namespace of its own."""

from __future__ import annotations

from pathlib import Path

from support.examples import EXAMPLES, broken_copy, run_example

ALONE = ("unshare", "--net")


def test_a_program_that_plays_a_host_is_answered_for() -> None:
    done = run_example(EXAMPLES / "use_tap.py", *ALONE)
    assert done.returncode == 0, done.stderr
    assert "3 received" in done.stdout


def test_wrong_answers_are_no_answers(tmp_path: Path) -> None:
    wrong = broken_copy("use_tap.py", tmp_path, 'echo = b"\\0"', 'echo = b"\\1"')
    done = run_example(wrong, *ALONE)
    assert done.returncode != 0
    assert done.stderr.strip() == "ping got no answer"

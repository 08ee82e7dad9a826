"""Each example does what it says, and says so when it does not.

`replicated_set.py`, `key_value_store.py` and `presence.py` run peers as processes over real links
and kill them with SIGKILL; in the others all ends are in one process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.examples import EXAMPLES, broken_copy, run_example

# What each prints last, and one change that must not go unnoticed.
PROMISES = {
    "two_peers.py": ("both sealed with", "right.send(answer)", "right.send(answer + b'!')"),
    "replicated_set.py": (
        "what c had written stays",
        'others["c"].kill()',
        '(others["c"].kill(), others["b"].kill())',
    ),
    "key_value_store.py": (
        "all were killed; c comes back alone, and still knows",
        "Mesh(config, state=state)",
        "Mesh(config)",
    ),
    "presence.py": ("b lives: after", 'others["b"].send_signal(signal.SIGCONT)', "pass"),
    "task_claim.py": (
        "together they agree",
        "if free and await self.claim(task := random.choice(free)):",
        "if task := left[0]:",
    ),
    "use_crdt.py": (
        "one entry:",
        "        ours.apply(delta)",
        "        ours.apply(ours.add(BOB, 4))",
    ),
    "use_wire.py": ("one changed bit", "psk=PSK,", "psk=os.urandom(32),"),
}
IN_NETNS = {"use_tap.py"}


def test_every_example_is_run_by_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == PROMISES.keys() | IN_NETNS


@pytest.mark.parametrize("name", PROMISES)
def test_an_example_keeps_its_promise(name: str) -> None:
    done = run_example(EXAMPLES / name)
    assert done.returncode == 0, done.stderr
    assert PROMISES[name][0] in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", PROMISES)
def test_an_example_whose_promise_does_not_hold_fails(name: str, tmp_path: Path) -> None:
    last, right, wrong = PROMISES[name]
    done = run_example(broken_copy(name, tmp_path, right, wrong))
    assert done.returncode != 0, done.stdout
    assert last not in done.stdout
    assert done.stderr

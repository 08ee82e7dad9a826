"""The password of running nodes is changed, and a ping that runs meanwhile misses nothing."""

from __future__ import annotations

import base64
import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from meshnet.lab.hosts import Underlay
from netns.tools import Node, meshnet, wait_until

OVERLAY = "10.32.0.{}"


def write_key(path: Path) -> Path:
    path.touch(mode=0o600)
    path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    return path


def test_a_rotation_by_sighup_and_by_command_loses_no_ping(tmp_path: Path) -> None:
    old, new = write_key(tmp_path / "old"), write_key(tmp_path / "new")
    with Underlay(3) as underlay, ExitStack() as stack:
        nodes, files = [], []
        for number, host in enumerate(underlay.hosts, 1):
            files.append(tmp_path / f"{number}.toml")
            files[-1].write_text(f'key-file = ["{old}"]\n')
            options = ["--config", str(files[-1]), "--address", f"{OVERLAY.format(number)}/24"]
            if number > 1:
                options.append(Underlay.ipv4(1))
            if number < 3:
                node = Node(host, tmp_path / f"node{number}", *options)
                nodes.append(stack.enter_context(node))
        one = nodes[0]
        wait_until(lambda: len(established(one)) == 1, 10, "a session")
        ping = one.namespace.start(
            *("ping", "-n", "-i", "0.02", "-w", "6", OVERLAY.format(2)),
            stdout=(log := stack.enter_context((tmp_path / "ping").open("wb"))),
        )
        wait_until(lambda: b"bytes from" in (tmp_path / "ping").read_bytes(), 5, "an answer")
        for step, keys in enumerate(((old, new), (new, old), (new,))):
            names = ", ".join(f'"{key}"' for key in keys)
            for node, file in zip(nodes, files, strict=False):
                file.write_text(f"key-file = [{names}]\n")
                if step == 1:
                    assert meshnet("reload", "--api", node.api).stdout == "reloaded\n"
                else:
                    assert node.process is not None
                    node.process.send_signal(signal.SIGHUP)
                wait_until(lambda: reloads(node) == step + 1, 5, "a reload")  # noqa: B023
            time.sleep(0.5)
        ping.wait(10)
        log.close()
        text = (tmp_path / "ping").read_text()
        found = re.search(r"(\d+) packets transmitted, (\d+) received", text)
        assert found is not None
        # The last one may still be on its way when the time is over.
        assert int(found[1]) - int(found[2]) <= 1
        assert int(found[2]) > 100
        # What was given up is refused from now on, what was taken up is not.
        third = Node(underlay.hosts[2], tmp_path / "node3", *options)
        stack.enter_context(third)
        third.connection(lambda row: "wrong password" in row["reason"])
        files[2].write_text(f'key-file = ["{new}"]\n')
        third.stop()
        third.start()
        wait_until(lambda: len(established(third)) == 2, 15, "sessions with the new key")


def test_broken_settings_leave_a_node_running_with_one_line(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    file = tmp_path / "meshnet.toml"
    file.write_text(f'key-file = ["{key}"]\n')
    options = ("--config", str(file), "--no-tap")
    with Underlay(1) as underlay, Node(underlay.hosts[0], tmp_path / "node", *options) as node:
        key.chmod(0o644)
        refused = meshnet("reload", "--api", node.api)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert f"run: chmod 600 {key}" in refused.stderr
        assert node.log_text().count("reload refused") == 1
        assert node.is_up
        assert not node.report()["open"]
        assert node.report()["secrets"] == 1
        assert node.stop() == 0


def established(node: Node) -> list[str]:
    rows = node.report()["connections"]
    return [row["peer"] for row in rows if row["state"] == "established"]


def reloads(node: Node) -> int:
    return node.log_text().count("settings reloaded")

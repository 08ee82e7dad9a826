"""What people see: true to the report, whatever peers call themselves."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from meshnet.cli import views
from meshnet.report import (
    ConnectionReport,
    ExplainCause,
    Explanation,
    GoneReport,
    Pong,
    Report,
    TargetReport,
)

NASTY = "[/x] [bold]"


def connection(**changes: object) -> ConnectionReport:
    row: ConnectionReport = {
        "peer": "ab" * 16,
        "nickname": "b",
        "address": "[fd00::5]:6783",
        "direction": "outbound",
        "state": "established",
        "reason": "",
        "path": "direct",
        "encrypted": True,
        "cipher": "AEGIS-128L",
        "rtt_ms": 1.25,
        "loss": 0.0,
        "mtu": 1376,
    }
    row.update(changes)  # type: ignore[typeddict-item]
    return row


def report(*connections: ConnectionReport, is_open: bool = False) -> Report:
    return {
        "ready": True,
        "name": "cd" * 16,
        "nickname": NASTY,
        "network": "meshnet",
        "version": "0",
        "open": is_open,
        "secrets": 0 if is_open else 2,
        "listen": "[::]:6783",
        "addresses": ["[fd00::1]:6783"],
        "tap": "mesh0",
        "interface": "mesh0",
        "overlay_addresses": ["10.32.0.1", "fd32::1", "fe80::1"],
        "mtu": 1376,
        "peers": [
            {
                "name": "cd" * 16,
                "nickname": NASTY,
                "reachable": True,
                "gone": None,
                "connections": [],
            }
        ],
        "connections": list(connections),
        "channels": [],
        "routes": [],
        "control": {"counters": {}, "links_refused": []},
        "data_path": {"offloads": {}, "counters": {}, "drops": {"replayed": 3}},
    }


def text_of(view: object, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, soft_wrap=True).print(view)
    return out.getvalue()


def test_names_and_addresses_are_not_read_as_markup() -> None:
    shown = report(connection(nickname=NASTY, reason=NASTY))
    for view in (views.status(shown), views.peers(shown), views.connections(shown)):
        assert NASTY in text_of(view)
    assert "[fd00::5]:6783" in text_of(views.connections(shown))
    assert "[fd00::1]:6783" in text_of(views.status(shown))


def test_an_open_network_is_said_loudly() -> None:
    assert "anyone may join" in text_of(views.status(report(is_open=True)))
    assert "anyone may join" not in text_of(views.status(report()))


def test_status_has_the_overlay_addresses_and_the_bridge() -> None:
    shown = report()
    text = text_of(views.status(shown))
    assert "10.32.0.1, fd32::1\n" in re.sub(" +\n", "\n", text)
    assert "bridge" not in text
    shown["interface"] = "meshbr0"
    assert "mesh0, a port of bridge meshbr0, overlay MTU" in text_of(views.status(shown))


def test_status_says_how_many_passwords_are_accepted() -> None:
    assert "password or key (2 accepted)" in text_of(views.status(report()))


def test_status_says_why_a_connection_is_not_up() -> None:
    row = connection(state="failed", reason="wrong password (compare --password on both ends)")
    assert "wrong password" in text_of(views.status(report(row)))


def explained_with(row: ConnectionReport) -> Explanation:
    return {
        "peer": "ab" * 16,
        "nickname": "b",
        "causes": [{"cause": ExplainCause.DIRECT, "text": "linked"}],
        "link": "up",
        "connection": row,
        "route": None,
        "attempts": [],
    }


def test_frames_in_clear_are_said_loudly_wherever_a_cipher_stands() -> None:
    clear = connection(cipher="none", encrypted=False)
    for row, said in ((clear, 1), (connection(), 0)):
        shown = report(row)
        for view in (
            views.status(shown),
            views.connections(shown),
            views.explanation(explained_with(row)),
        ):
            assert text_of(view).count("IN CLEAR") == said


def test_what_is_not_known_is_a_dash() -> None:
    row = connection(state="connecting", path="", cipher="", rtt_ms=None, loss=None)
    assert text_of(views.connections(report(row))).count(" - ") >= 4


def test_a_target_is_shown_with_when_it_is_tried_next() -> None:
    waiting: TargetReport = {
        "address": "host:1",
        "addresses": ["host:1"],
        "given": True,
        "peer": "",
        "nickname": NASTY,
        "state": "retrying",
        "failures": 3,
        "next_try_s": 1.25,
        "reason": "refused",
    }
    linked: TargetReport = {**waiting, "state": "established", "next_try_s": None, "reason": ""}
    header, first, second = text_of(views.targets([waiting, linked])).splitlines()
    assert header.split()[:2] == ["ADDRESS", "GIVEN"]
    for word in ("host:1", "yes", NASTY, "retrying", "3", "in 1.2 s", "refused"):
        assert word in first
    assert second.split()[-2:] == ["-", "-"]


@pytest.mark.parametrize("address", ["192.0.2.123:6783", "[2001:db8:1234:5678::9abc:def0]:6783"])
@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_an_address_stays_on_one_line_however_narrow_the_terminal(width: int, address: str) -> None:
    row = connection(address=address, nickname="worker-with-a-name")
    failed = connection(address=address, state="retrying", reason="Connection refused " * 5)
    lines = text_of(views.connections(report(row, failed)), width).splitlines()
    assert len([line for line in lines if address in line and "worker-with-a-name" in line]) == 1
    assert all("established" in line for line in lines if "worker-with-a-name" in line)
    assert {"PEER", "ADDRESS", "STATE", "REASON"} <= set(lines[0].split())
    too_long = [line for line in lines if len(line.rstrip()) > width]
    assert not too_long or width < 60 + len(address)
    assert ("DIRECTION" in lines[0]) == (width == 200)


def test_a_pipe_gets_whole_lines_without_trailing_blanks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = connection(state="retrying", reason="Connection refused " * 20 + "end")
    views.show(views.connections(report(row, connection())))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("refused end")
    assert [line for line in lines if line != line.rstrip()] == []


def test_an_explanation_has_every_cause_and_every_try() -> None:
    explained: Explanation = {
        "peer": "ab" * 16,
        "nickname": NASTY,
        "causes": [
            {"cause": ExplainCause.RELAYED, "text": "by c"},
            {"cause": ExplainCause.NO_UDP_ANSWER, "text": "from x"},
        ],
        "link": "down",
        "connection": connection(path="relay"),
        "route": {"peer": "ab" * 16, "via": "cd" * 16, "hops": 2, "cost": 200},
        "attempts": [{"address": "x:1", "transport": "udp", "result": "no answer"}],
    }
    text = text_of(views.explanation(explained))
    for line in ("relayed: by c", "no_udp_answer: from x", "x:1 by udp: no answer", NASTY):
        assert line in text
    assert "2 hops, the first to cdcdcdcd" in text


def test_an_address_whose_owner_nobody_knows_is_explained_too() -> None:
    explained: Explanation = {
        "peer": "",
        "nickname": "",
        "causes": [{"cause": ExplainCause.DIALLING, "text": "x:1 is being dialled"}],
        "link": "down",
        "connection": None,
        "route": None,
        "attempts": [],
    }
    assert "nobody knows yet" in text_of(views.explanation(explained))


@pytest.mark.parametrize(
    ("times", "line"),
    [
        ([1.0, 3.0], "2 sent, 2 answered, 0% lost, min/avg/max 1.000/2.000/3.000 ms"),
        ([1.0, None], "2 sent, 1 answered, 50% lost, min/avg/max 1.000/1.000/1.000 ms"),
        ([None], "1 sent, 0 answered, 100% lost"),
    ],
)
def test_ping_sums_up(times: list[float | None], line: str) -> None:
    pongs = [Pong(seq=seq, rtt_ms=rtt) for seq, rtt in enumerate(times, 1)]
    assert views.ping_summary(pongs) == line


def test_a_gone_peer_says_why_how_long_and_how_much_longer() -> None:
    shown = report()
    rows: list[tuple[GoneReport, str]] = [
        (
            {"reason": "goodbye", "for_s": 59.4, "forgotten_in_s": 14 * 86400.0},
            "stopped 59 s ago, forgotten in 14 d",
        ),
        (
            {"reason": "lost", "for_s": 7200.0, "forgotten_in_s": 61.0},
            "lost 2 h ago, forgotten in 1 min",
        ),
        ({"reason": "not_seen", "for_s": 0.2, "forgotten_in_s": None}, "not seen for 0 s"),
    ]
    for gone, text in rows:
        shown["peers"][0]["gone"] = gone
        assert text_of(views.peers(shown)).rstrip().endswith(text)
    assert "1 known, us included; 1 gone" in text_of(views.status(shown))


def test_what_was_removed_is_told_with_how_much_it_was() -> None:
    name = "cd" * 16
    assert views.removed({"name": name, "nickname": "a", "entries": 3}) == (
        "a: removed, 3 entries let go"
    )
    assert views.removed({"name": name, "nickname": "", "entries": 0}) == (
        f"{name}: nothing is held of it"
    )

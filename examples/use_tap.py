"""The TAP device on its own: a host that is nothing but this program answers `ping`. Needs root."""

import os
import select
import subprocess
import sys
import time
from ipaddress import IPv4Interface

from meshnet.linux.addresses import add_address
from meshnet.tap.device import Tap
from meshnet.wire.identity import Identity

OURS = IPv4Interface("198.18.0.1/30")  # the kernel's side; RFC 2544: nobody's real network
THEIRS = b"\xc6\x12\x00\x02"  # 198.18.0.2: the host that we play
THEIR_MAC = b"\x02\x00\x00\x00\x00\x02"
ARP, IPV4 = b"\x08\x06", b"\x08\x00"
WITHIN_S = 5.0


def answer(frame: bytes) -> bytes | None:
    """What the host that we play says to a frame; None: nothing."""
    sender, kind, packet = frame[6:12], frame[12:14], frame[14:]
    if kind == ARP and packet[6:8] == b"\0\1" and packet[24:28] == THEIRS:
        reply = packet[:6] + b"\0\2" + THEIR_MAC + THEIRS + packet[8:18]
        return sender + THEIR_MAC + ARP + reply
    if kind == IPV4 and packet[9] == 1 and packet[16:20] == THEIRS and packet[20] == 8:
        source, icmp = packet[12:16], packet[20:]
        # From type 8 (echo request) to 0: the checksum rises by as much (RFC 1624).
        checksum = int.from_bytes(icmp[2:4], "big") + 0x0800
        checksum = (checksum & 0xFFFF) + (checksum >> 16)
        echo = b"\0" + icmp[1:2] + checksum.to_bytes(2, "big") + icmp[4:]
        return sender + THEIR_MAC + IPV4 + packet[:12] + THEIRS + source + echo
    return None


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("a TAP device needs root")
    tap = Tap("example0", Identity.of_seed(os.urandom(32)).name, 1376)
    try:
        add_address(tap.name, OURS)
        ping = subprocess.Popen(["ping", "-c", "3", "-i", "0.2", "-w", "4", "198.18.0.2"])
        deadline, answered = time.monotonic() + WITHIN_S, 0
        while ping.poll() is None and time.monotonic() < deadline:
            select.select([tap], [], [], 0.1)
            for frame in tap.read_frames(64):
                if (reply := answer(frame)) is not None:
                    answered += 1
                    tap.write_frames([reply])
        ping.kill()
        print(f"answered {answered} frames on {tap.name}")
        if ping.wait() != 0:
            sys.exit("ping got no answer")
    finally:
        tap.close()  # the device goes with it


main()

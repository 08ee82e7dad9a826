"""The wire on its own: a Noise handshake, then sealed datagrams, over anything that carries bytes.

Here that is a pair of datagram sockets. Nothing in `meshnet.wire` opens a socket, asks for the time
or draws randomness by itself.
"""

import os
import socket
import sys

from meshnet.errors import AuthenticationError
from meshnet.ids import Endpoint, PeerName
from meshnet.wire import noise
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.datagram import HEADER
from meshnet.wire.identity import Identity
from meshnet.wire.session import Session

PSK = os.urandom(32)  # what both know
CIPHER = CIPHERS[CipherId.CHACHA20_POLY1305]
NOWHERE = Endpoint("192.0.2.1", 6783)  # sessions carry an address; these sockets need none


class End:
    """One side: its keys, its socket, and its part of the handshake."""

    def __init__(self, role: noise.Role, carrier: socket.socket) -> None:
        self.identity = Identity.of_seed(os.urandom(32))
        self.carrier = carrier
        self.handshake = noise.HandshakeState.start(
            noise.XX_PSK3,
            role,
            prologue=b"use_wire",
            static=self.identity.static,
            ephemeral_secret=os.urandom(32),
            psk=PSK,
        )

    def step(self) -> None:
        """The next of the three messages: write it when it is our turn, else read it."""
        if self.handshake.our_turn:
            self.carrier.send(self.handshake.write_message(self.identity.public_key))
        else:
            self.peer = PeerName.of(self.handshake.read_message(self.carrier.recv(65536)))

    def session(self, our_index: int, their_index: int) -> Session:
        keys = self.handshake.split()
        return Session(
            self.peer, our_index, their_index, CIPHER, keys.send_key, keys.receive_key, NOWHERE, 0.0
        )


def main() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a, b = End(noise.Role.INITIATOR, one), End(noise.Role.RESPONDER, other)
    for writer, reader in ((a, b), (b, a), (a, b)):
        writer.step()
        reader.step()
    print(f"{a.identity.name.short} and {b.identity.name.short} have shaken hands")

    sending, receiving = a.session(1, 2), b.session(2, 1)
    a.carrier.send(sending.seal(b"over anything"))
    datagram = b.carrier.recv(65536)
    if b"over anything" in datagram:
        sys.exit("it went in clear")
    print(f"{len(datagram)} bytes on the way, {receiving.open(datagram)!r} inside")

    *_, counter = HEADER.unpack_from(datagram)
    if not receiving.fresh(counter) or receiving.fresh(counter):
        sys.exit("a datagram counts once, and no more")
    try:
        receiving.open(datagram[:-1] + bytes([datagram[-1] ^ 1]))
    except AuthenticationError:
        print("one changed bit is one too many, and a second copy is one as well")
    else:
        sys.exit("a changed datagram was taken for a good one")


main()

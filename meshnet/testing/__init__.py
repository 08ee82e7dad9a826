"""The public test kit: in-memory twins of the seams, and whole clusters under virtual time.

docs/testing.md shows how the parts are used. `meshnet.testing.strategies` and `crdt_strategies` are
not loaded from here, since they need hypothesis.
"""

from meshnet.testing.clock import Clock as Clock
from meshnet.testing.clock import TimeStandsStillError as TimeStandsStillError
from meshnet.testing.cluster import Cluster as Cluster
from meshnet.testing.conformance import check_frame_port as check_frame_port
from meshnet.testing.conformance import check_journal_port as check_journal_port
from meshnet.testing.conformance import check_state_port as check_state_port
from meshnet.testing.emulator import BurstLoss as BurstLoss
from meshnet.testing.emulator import Conditions as Conditions
from meshnet.testing.emulator import Network as Network
from meshnet.testing.emulator import Transport as Transport
from meshnet.testing.faults import Fault as Fault
from meshnet.testing.faults import FaultKind as FaultKind
from meshnet.testing.faults import draw_faults as draw_faults
from meshnet.testing.faults import end_faults as end_faults
from meshnet.testing.faults import schedule as schedule
from meshnet.testing.frame_port import MemoryPort as MemoryPort
from meshnet.testing.host import Host as Host
from meshnet.testing.journal import MemoryJournal as MemoryJournal
from meshnet.testing.laws import check_fragment_laws as check_fragment_laws
from meshnet.testing.laws import check_lattice_laws as check_lattice_laws
from meshnet.testing.nat import Nat as Nat
from meshnet.testing.nat import NatRule as NatRule
from meshnet.testing.rng import SeededRng as SeededRng
from meshnet.testing.scenario import Scenario as Scenario
from meshnet.testing.scenario import settled as settled
from meshnet.testing.state import MemoryState as MemoryState
from meshnet.testing.trace import Packet as Packet
from meshnet.testing.trace import Trace as Trace
from meshnet.testing.watch import BrokenInvariantError as BrokenInvariantError

__all__ = [
    "BrokenInvariantError",
    "BurstLoss",
    "Clock",
    "Cluster",
    "Conditions",
    "Fault",
    "FaultKind",
    "Host",
    "MemoryJournal",
    "MemoryPort",
    "MemoryState",
    "Nat",
    "NatRule",
    "Network",
    "Packet",
    "Scenario",
    "SeededRng",
    "TimeStandsStillError",
    "Trace",
    "Transport",
    "check_fragment_laws",
    "check_frame_port",
    "check_journal_port",
    "check_lattice_laws",
    "check_state_port",
    "draw_faults",
    "end_faults",
    "schedule",
    "settled",
]

"""The public test kit: in-memory twins of the seams, what every twin must do, the lattice laws."""

from meshnet.testing.conformance import check_frame_port as check_frame_port
from meshnet.testing.conformance import check_journal_port as check_journal_port
from meshnet.testing.conformance import check_state_port as check_state_port
from meshnet.testing.frame_port import MemoryPort as MemoryPort
from meshnet.testing.journal import MemoryJournal as MemoryJournal
from meshnet.testing.laws import check_fragment_laws as check_fragment_laws
from meshnet.testing.laws import check_lattice_laws as check_lattice_laws
from meshnet.testing.state import MemoryState as MemoryState

__all__ = [
    "MemoryJournal",
    "MemoryPort",
    "MemoryState",
    "check_fragment_laws",
    "check_frame_port",
    "check_journal_port",
    "check_lattice_laws",
    "check_state_port",
]

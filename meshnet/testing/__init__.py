"""The public test kit: in-memory twins of the seams, and what every twin must do."""

from meshnet.testing.conformance import check_frame_port as check_frame_port
from meshnet.testing.conformance import check_journal_port as check_journal_port
from meshnet.testing.conformance import check_state_port as check_state_port
from meshnet.testing.frame_port import MemoryPort as MemoryPort
from meshnet.testing.journal import MemoryJournal as MemoryJournal
from meshnet.testing.state import MemoryState as MemoryState

__all__ = [
    "MemoryJournal",
    "MemoryPort",
    "MemoryState",
    "check_frame_port",
    "check_journal_port",
    "check_state_port",
]

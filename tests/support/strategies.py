"""What hypothesis draws for more than one property of ours; what users draw too stands in
`meshnet.testing.strategies`."""

from __future__ import annotations

from hypothesis import strategies as st

from meshnet.gossip.fragments import MAX_TYPE_NAME_BYTES
from meshnet.ids import ChannelId
from meshnet.testing.strategies import nicknames
from meshnet.wire.ciphers import CipherId

CIPHER_LISTS = st.lists(st.sampled_from(CipherId), unique=True).map(tuple)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)

CHANNELS = st.builds(
    ChannelId,
    nicknames(),
    nicknames().filter(lambda text: len(text.encode()) <= MAX_TYPE_NAME_BYTES),
)
PATHS = st.text("0123456789abcdef", max_size=64)
"""Where a node of a hash tree stands."""

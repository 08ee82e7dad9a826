"""What hypothesis draws for more than one property of ours; what users draw too stands in
`meshnet.testing.strategies`."""

from __future__ import annotations

from hypothesis import strategies as st

from meshnet.wire.ciphers import CipherId

CIPHER_LISTS = st.lists(st.sampled_from(CipherId), unique=True).map(tuple)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)

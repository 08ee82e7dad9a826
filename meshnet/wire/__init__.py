"""The protocol, byte by byte: docs/wire.md as code. Pure; PyNaCl stands behind crypto.py."""

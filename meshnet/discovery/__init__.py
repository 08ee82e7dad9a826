"""Whom to dial, and when."""

"""Replicated types: lattices that end equal whatever the order of news, and their entries."""

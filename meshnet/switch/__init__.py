"""The learning switch: frame in, decision out."""

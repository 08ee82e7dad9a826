"""TAP devices: the host's side of the overlay."""

"""The Linux host's side: addresses by netlink."""

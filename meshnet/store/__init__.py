"""What survives a restart, as files."""

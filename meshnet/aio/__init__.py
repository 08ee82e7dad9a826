"""The drivers: asyncio around the pure parts. They move bytes and time, and decide nothing."""

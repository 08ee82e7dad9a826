"""The `meshnet` command: shows and tells, by the local API only."""

"""One module for each parser, of one form: see `fuzz.harness.Harness`."""

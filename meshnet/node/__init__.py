"""The composition: where options become parts, and parts become one running peer."""

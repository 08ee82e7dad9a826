"""Every parser against bytes that nobody sends by mistake. tests/README.md tells how it is used."""

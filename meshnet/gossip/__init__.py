"""What peers tell each other, and how newer replaces older."""

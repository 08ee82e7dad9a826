"""Who is linked to whom, and the shortest way to everyone."""

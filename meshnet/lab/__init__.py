"""Whole meshes on one machine: hosts as network namespaces, one real node in each."""

"""The parts of `control_plane.py`: simulated meshes, real ones, gates and charts."""

"""Servers to compare with, one for each file: ``python -m benchmarks.peers.on_NAME``."""

"""Benchmarks: each prints its figures, their ratio and the limit it must keep. `python -m benchmarks` runs them all."""

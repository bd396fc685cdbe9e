"""Benchmarks of the running server: real processes, real databases, load from outside (README.md beside this file)."""

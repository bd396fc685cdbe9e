"""Modules that tasks import, from a folder on their PYTHONPATH.

These modules import flytekit and the standard library only.
"""

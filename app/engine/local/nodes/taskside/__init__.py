"""Modules for the environment of tasks: flytekit imports them by name, from a folder on the PYTHONPATH of a task.

They import flytekit and the standard library, and nothing of this package.
"""

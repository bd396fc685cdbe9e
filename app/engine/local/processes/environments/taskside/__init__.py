"""Modules that run in an environment of tasks. They import flytekit and the standard library only."""

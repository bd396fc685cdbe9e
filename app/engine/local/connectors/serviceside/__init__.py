"""The program of flytekit's own service of connectors. It runs in the environment of tasks.

Its module imports flytekit and the standard library only.
"""

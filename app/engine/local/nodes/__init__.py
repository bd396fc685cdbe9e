"""Kinds of nodes, one module for each, and their table.

node_run: the steps that every node has, whatever its kind.
tasks, task_retries, dynamics, output_cache, deck_watch, task_types: task nodes.
branches, gates, sub_workflows, child_executions, arrays/, echo: the other kinds.
"""

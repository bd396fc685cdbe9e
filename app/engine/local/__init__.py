"""The local engine: runs executions in a server process and tasks as processes of this machine.

The modules import each other downwards only:

engine, execution, watch: take launched executions, run each, watch for changes that other processes make.
nodes/: one module per kind of node, and the table of them.
graph/: the state of an execution, the order of its nodes, events, retries, recovery, aborts.
host: the interface through which nodes and graphs use the engine.
connectors/: attempts of tasks at services; processes/: attempts of tasks as processes.
execution_error: errors of tasks, nodes and executions as events report them.
"""

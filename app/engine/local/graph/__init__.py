"""Graphs of nodes, whatever their kinds.

state: an execution, a graph inside it, a node with its place.
scheduler: runs the nodes of a graph in the order of their dependencies.
events, history: send events to the control plane; read what was recorded.
ends, failures: report the end of a node; exceptions of nodes and executions.
bindings, literal_store: resolve inputs; read and write literals.
retries, recovery, aborts, outages: attempts of nodes; resuming from another execution; ending; waiting for the store.
"""

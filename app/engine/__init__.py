"""Engines, which run the nodes of executions. `port` is the interface through which the control plane uses one."""

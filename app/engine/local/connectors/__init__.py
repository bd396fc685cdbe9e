"""Tasks that gRPC services run: connectors, which older versions of Flyte call agents.

The words connector and agent mean the same; the RPCs keep the name agent. A service is described by a deployment
(deployments.py) and called through a connection (connection.py). `registry.py` finds out which service runs a type,
`runner.py` runs attempts: it creates a task, stores the service's bytes for it, polls it, and deletes it at an abort.
Source: flyteplugins go/tasks/plugins/webapi/connector; Proto: flyteidl/admin/agent.proto.
"""

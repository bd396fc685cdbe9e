"""Synchronizes an execution with all its nodes, as FlyteRemote does: sync.py <host:port> <project> <domain> <name>

Prints as JSON how many nodes and attempts it found, and in how many seconds.
"""

import json
import sys
import time

from flytekit.configuration import Config
from flytekit.remote import FlyteRemote

endpoint, project, domain, name = sys.argv[1:]
remote = FlyteRemote(Config.for_endpoint(endpoint, insecure=True), project, domain)
started = time.monotonic()
execution = remote.sync(remote.fetch_execution(name=name), sync_nodes=True)
seconds = time.monotonic() - started
nodes = execution.node_executions.values()
attempts = sum(len(node.task_executions) for node in nodes)
sys.stdout.write(json.dumps({"nodes": len(nodes), "attempts": attempts, "seconds": round(seconds, 1)}) + "\n")

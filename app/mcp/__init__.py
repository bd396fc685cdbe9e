"""The service for AI assistants: MCP tools, resources and prompts, and the REST adapter of the same operations.

tools.py lists the operations. Their RPCs are called in this process (clients.py) or on another server (remote.py).
"""

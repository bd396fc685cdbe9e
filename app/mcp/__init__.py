"""The service for AI assistants: MCP tools, resources and prompts, and the REST adapter of the same capability.

rows.py names what is offered, once; the RPCs behind it are called in this process or on another server (callers.py).
"""

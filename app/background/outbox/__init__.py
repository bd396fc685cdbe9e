"""The outbox: delivers messages that transactions wrote, at least once, after their commit.

`app.services.outbox.put` writes a message. `service.Outbox` claims messages by leases and passes them to the `Target`
of their name (targets.py), which sends them. Any number of processes share the work.
"""

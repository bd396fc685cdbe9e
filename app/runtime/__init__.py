"""The way of a call from an edge to a service function, background services, leases and metrics."""

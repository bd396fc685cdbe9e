"""HTTP pages beside the API: documentation, stored objects, logs of attempts."""

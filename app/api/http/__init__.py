"""HTTP below the application: the protocol classes, flow control, refused hosts and origins, trusted proxies."""

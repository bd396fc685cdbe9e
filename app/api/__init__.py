"""The edges over HTTP: REST, gRPC and pages."""

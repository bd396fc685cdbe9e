"""gRPC: the ASGI application, its streams, and grpcio's server as an alternative."""

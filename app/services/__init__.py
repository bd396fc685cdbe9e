"""The service functions, one per RPC, in one module per tag."""

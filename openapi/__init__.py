"""The OpenAPI document, what it is generated from, and the generator (not imported by the server)."""

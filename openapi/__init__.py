"""The OpenAPI document, its sources, and the generator, which the server does not import."""

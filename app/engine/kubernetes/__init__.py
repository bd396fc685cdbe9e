"""The engine that runs executions by FlytePropeller, an operator for Kubernetes."""

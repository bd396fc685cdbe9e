"""Texts that imitate Go and Kubernetes letter for letter."""

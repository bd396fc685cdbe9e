"""Kubernetes resources for each project and domain: namespaces, quotas, service accounts, from templates of YAML."""

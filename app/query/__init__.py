"""List requests: filters, sort keys and page tokens, turned into SQL."""

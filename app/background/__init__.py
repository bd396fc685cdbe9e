"""Background services: work that no request asks for. One module per service, each a line in app/main.py."""

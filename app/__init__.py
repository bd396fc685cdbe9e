"""Flyte Admin in Python. `app.main.create_app` makes the application, `app.cli.main` the command line."""

"""Attempts of tasks as processes of this machine: runner.py prepares them, pool/ starts and ends them."""

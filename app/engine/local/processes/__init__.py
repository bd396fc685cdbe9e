"""Attempts of tasks as processes of this machine: runner.py prepares them, pool.py starts and ends them."""

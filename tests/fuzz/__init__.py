"""Random input for a real server process: `make fuzz ARGS="--seconds 3600 --seed 1"`."""

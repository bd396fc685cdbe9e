"""Runs a launch plan with FlyteRemote and waits for its end: executed.py <config.yaml> <launch plan> <inputs as JSON>.

Prints its outputs as JSON.
"""

import json
import sys

from flytekit.configuration import Config
from flytekit.remote import FlyteRemote

remote = FlyteRemote(Config.auto(sys.argv[1]), "flytesnacks", "development")
plan = remote.fetch_launch_plan(name=sys.argv[2], version="v1")
execution = remote.execute(plan, inputs=json.loads(sys.argv[3]), wait=True)
sys.stdout.write(json.dumps({key: execution.outputs.get(key) for key in execution.outputs}) + "\n")

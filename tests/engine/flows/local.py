"""Runs workflows of a module in this process, as flytekit does by itself: local.py <config.yaml> <module> <cases>.

shape: cases as JSON [[workflow, {input: value}], …] → [output, …] on stdout
"""

import importlib
import json
import sys

module, cases = importlib.import_module(sys.argv[2]), json.loads(sys.argv[3])
sys.stdout.write(json.dumps([getattr(module, name)(**inputs) for name, inputs in cases]) + "\n")

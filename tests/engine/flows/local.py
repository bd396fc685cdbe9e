"""Runs workflows of graphs.py in this process, as flytekit does by itself: local.py <config.yaml> <cases as JSON>.

shape: [[workflow, {input: value}], …] → [output, …] on stdout
"""

import json
import sys

import graphs

cases = json.loads(sys.argv[2])
sys.stdout.write(json.dumps([getattr(graphs, name)(**inputs) for name, inputs in cases]) + "\n")

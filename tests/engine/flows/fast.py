"""Registers a workflow together with the code beside it: fast.py <config.yaml> <folder> <module> <workflow> <version>.

The code is packed, uploaded to where the server says, and unpacked by each task, as `pyflyte run --remote` does it.
"""

import importlib
import sys
from pathlib import Path

from flytekit.configuration import Config, ImageConfig
from flytekit.remote import FlyteRemote

config, folder, module, workflow, version = sys.argv[1:]
sys.path.insert(0, folder)
entity = getattr(importlib.import_module(module), workflow)
FlyteRemote(Config.auto(config), "flytesnacks", "development").register_script(
    entity,
    image_config=ImageConfig.auto_default_image(),
    version=version,
    source_path=folder,
    module_name=module,
    destination_dir=".",
    copy_all=True,
)
assert Path(folder, f"{module}.py").exists()

"""Registers all workflows and launch plans of a module, or those named, as code that lies where tasks are run.

python register.py <config.yaml> <module> [name…] [-- <module> [name…]]…: run by the Python of the tasks' environment.
"""

import importlib
import itertools
import sys

from flytekit import LaunchPlan
from flytekit.configuration import Config, ImageConfig, SerializationSettings
from flytekit.core.reference_entity import ReferenceEntity
from flytekit.core.workflow import WorkflowBase
from flytekit.remote import FlyteRemote

config, *arguments = sys.argv[1:]
remote = FlyteRemote(Config.auto(config), "flytesnacks", "development")
settings = SerializationSettings(
    image_config=ImageConfig.auto_default_image(), project="flytesnacks", domain="development", version="v1"
)
for separates, group in itertools.groupby(arguments, "--".__eq__):
    if separates:
        continue
    module, *names = group
    entities = [one for name, one in vars(importlib.import_module(module)).items() if not names or name in names]
    for entity in entities:
        if isinstance(entity, WorkflowBase):
            remote.register_workflow(entity, settings, version="v1")
    for entity in entities:
        if isinstance(entity, LaunchPlan) and not isinstance(entity, ReferenceEntity):
            remote.register_launch_plan(entity, version="v1", serialization_settings=settings)

"""Writes the template of every task of a module as a file: serialize.py MODULE FOLDER [distribution]."""

import importlib
import sys
from pathlib import Path

from flytekit.configuration import FastSerializationSettings, ImageConfig, SerializationSettings
from flytekit.core.base_task import Task
from flytekit.tools.translator import get_serializable


def main(module_name: str, folder: str, distribution: str = "") -> None:
    settings = SerializationSettings(
        image_config=ImageConfig.auto(img_name="none:v1"),
        project="p",
        domain="d",
        version="v1",
        fast_serialization_settings=FastSerializationSettings(
            enabled=bool(distribution), destination_dir=".", distribution_location=distribution or None
        ),
    )
    module = importlib.import_module(module_name)
    for name, entity in vars(module).items():
        if isinstance(entity, Task):
            spec = get_serializable({}, settings, entity)
            (Path(folder) / f"{name}.pb").write_bytes(spec.template.to_flyte_idl().SerializeToString())


main(*sys.argv[1:])

"""Templates of Kubernetes resources, and the values that replace their placeholders.

A placeholder is `{{ key }}`, with one blank on each side. It is replaced in the text, before the YAML is read.
Source: flyteadmin/pkg/clusterresource/controller.go.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.settings.clusters import ClusterResources, DataSource
from app.settings.values import BadSetting

SYSTEM_KEYS = ("project", "domain", "namespace")
_TEMPLATE_BYTES_MAX = 1024 * 1024
# A value is written once and may itself hold placeholders.
_ROUNDS_MAX = 2


class BadTemplate(Exception):
    """A template cannot be used. The text is the reason."""


@dataclass(frozen=True, slots=True)
class Template:
    """A file of the template folder."""

    name: str
    text: str


def read_templates(section: ClusterResources) -> list[Template]:
    """Return the templates in the order of their names.

    Raises:
        BadTemplate: The folder or a file cannot be read.
    """
    folder = Path(os.path.expandvars(section.template_path)).expanduser()
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".yaml" and path.is_file())
        for path in paths:
            if path.stat().st_size > _TEMPLATE_BYTES_MAX:
                raise BadTemplate(f"{path} has more than {_TEMPLATE_BYTES_MAX} bytes")
        return [Template(path.name, path.read_text()) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise BadTemplate(f"cluster_resources.templatePath: {folder} cannot be read: {error}") from error


class TemplateValues:
    """The configured values of templates.

    Args:
        section: The settings.

    Raises:
        BadSetting: A value is missing or empty, or has the name of a value of the system.

    Deviates: upstream logs such a value, applies nothing and exits with 0.
    """

    def __init__(self, section: ClusterResources) -> None:
        self._common = _values("cluster_resources.templateData", section.template_data)
        self._by_domain = {
            domain: _values(f"cluster_resources.customData.{domain}", sources)
            for domain, sources in section.custom_data.items()
        }

    def of(self, domain: str, attributes: Mapping[str, str], system: Mapping[str, str]) -> dict[str, str]:
        """Return the values for a project and domain.

        Args:
            domain: The id of the domain.
            attributes: The attributes CLUSTER_RESOURCE, which take precedence over configured values.
            system: The values of SYSTEM_KEYS.
        """
        return {**self._common, **self._by_domain.get(domain, {}), **attributes, **system}


def _values(where: str, sources: Mapping[str, DataSource]) -> dict[str, str]:
    values = {}
    for key, source in sources.items():
        if key in SYSTEM_KEYS:
            raise BadSetting(f"{where}.{key}: Cannot assign namespace template value in user data: {key}")
        value = _value_of(where, key, source)
        if not value:
            raise BadSetting(f"{where}.{key}: the value is empty; set value, valueFrom.env or valueFrom.filePath")
        values[key] = value
    return values


def _value_of(where: str, key: str, source: DataSource) -> str:
    if source.value:
        return source.value
    if source.value_from.env:
        return os.environ.get(source.value_from.env, "")
    if source.value_from.file_path:
        try:
            return Path(source.value_from.file_path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"{where}.{key}: {source.value_from.file_path} cannot be read: {error}") from error
    return ""


def render(template: Template, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the object of a template.

    Only the first document of the file counts. A placeholder without a value stays; its name may also be written in
    lower case, as upstream's configuration had it.

    Raises:
        BadTemplate: The text is no YAML, or no Kubernetes object.
    """
    text = template.text
    replaced = {**{key.lower(): value for key, value in values.items()}, **values}
    for _ in range(_ROUNDS_MAX):
        for key, value in replaced.items():
            text = text.replace(f"{{{{ {key} }}}}", value)
    try:
        document = next(iter(yaml.safe_load_all(text)), None)
    except yaml.YAMLError as error:
        raise BadTemplate(f"no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise BadTemplate("no Kubernetes object: the first document is no mapping")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            raise BadTemplate(f"Object '{field.capitalize() if field == 'kind' else field}' is missing")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise BadTemplate("metadata.name is missing")
    return document

"""Upstream's section `plugins`, as far as it says something about tasks that run here.

Source: flyteplugins/go/tasks/pluginmachinery/flytek8s/config at v1.16.8.
"""

from pydantic import Field

from app.settings.values import Section


class K8sPlugin(Section):
    """Variables for every task.

    Attributes:
        default_env_vars: A list of tables, `[{NAME: value}, …]`, as upstream writes it.
        default_env_vars_from_env: The same, with the name of a variable of this server in place of the value.
    """

    default_env_vars: tuple[dict[str, str], ...] = Field(default=(), repr=False)
    default_env_vars_from_env: tuple[dict[str, str], ...] = ()


class Plugins(Section):
    k8s: K8sPlugin = K8sPlugin()

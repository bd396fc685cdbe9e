"""The subject of a notification, as its writer stored it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from app.background.outbox.targets import Delivery, MessageRefused
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Notice:
    """The end of an execution, for one recipient.

    Attributes:
        address: The recipient: an e-mail address, or that of a webhook.
        facts: Project, domain, name, phase, error, occurred_at, workflow and launch_plan.
        template: The body that the notification itself asks for, "" for that of the settings.
        console_url: The address of the execution in the console.
    """

    address: str
    facts: dict[str, Any]
    template: str
    console_url: str

    @property
    def values(self) -> dict[str, str]:
        """Return the value of each name that templates can hold.

        Source: upstream's getTemplateValueFuncs; console_url is not upstream's.
        """
        facts = self.facts
        error = f" The execution failed with error: [{facts['error']}]." if facts["error"] is not None else ""
        found = {name: facts[name] for name in ("project", "domain", "name")}
        found |= {"phase": facts["phase"].lower(), "error": error, "console_url": self.console_url}
        for part in ("workflow", "launch_plan"):
            found |= {f"{part}.{name}": facts[part][name] for name in ("project", "domain", "name", "version")}
        return found


def notice_of(delivery: Delivery, settings: Settings) -> Notice:
    """Return the notice of a message of the outbox. Raises MessageRefused where the message cannot be read."""
    try:
        facts = orjson.loads(delivery.content)
        address, template = facts.pop("address"), facts.pop("template")
        return Notice(address, facts, template, console_url(settings, *(facts[part] for part in _NAME)))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise MessageRefused(f"the stored message cannot be read ({type(error).__name__})") from error


_NAME = ("project", "domain", "name")


def console_url(settings: Settings, project: str, domain: str, name: str) -> str:
    """Return the address of an execution in the console: in that of flyteadmin.consoleUrl, or in this server's."""
    base = settings.flyteadmin.console_url.rstrip("/") or f"{settings.own_url.rstrip('/')}/console"
    return f"{base}/projects/{quote(project)}/domains/{quote(domain)}/executions/{quote(name)}"


def trial_notice(address: str, settings: Settings) -> Notice:
    """Return a notice that only tests the way to a recipient."""
    id = {"project": "test", "domain": "test", "name": "Test of notifications", "version": "test"}
    facts: dict[str, Any] = {"project": "test", "domain": "test", "name": "test", "workflow": id, "launch_plan": id}
    facts |= {"phase": "SUCCEEDED", "error": None, "occurred_at": ""}
    text = "<p>This is a test of notifications of Flyte at {{ console_url }}.</p>"
    return Notice(address, facts, text, settings.own_url)

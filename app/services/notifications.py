"""Notifications: write the messages about the end of an execution into the outbox, one for each recipient.

The recipients are those of the execution or its launch plan. An address such as `https://hooks.slack.com/…` or
`pagerduty:KEY` receives a webhook, every other one an e-mail. app/background/notifications sends them.

Source: upstream ExecutionManager.publishNotifications.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2

from app import limited_log
from app.runtime.context import Context
from app.services import outbox
from app.services.execution_ids import execution_path
from app.settings import Settings

# Names of targets (app.runtime.metrics.TARGETS).
MAIL, WEBHOOK, QUEUE = "mail", "webhook", "queue"

# Characters of an error that a message carries.
ERROR_LENGTH_MAX = 10_000
# Characters of an address, and of a template of a launch plan.
ADDRESS_LENGTH_MAX, TEMPLATE_LENGTH_MAX = 2000, 64 * 1024
PAGERDUTY = "pagerduty:"

NO_TRANSPORT = (
    "no transport: set notifications.emailer.emailServerConfig.serviceName, or notifications.type=aws with "
    "notifications.emailer.sender"
)

_Kind = Literal["email", "slack", "pager_duty"]


def mail_service(settings: Settings) -> str:
    """Return the service that sends e-mail: smtp, sendgrid, ses, "" for none, or the value of an unknown setting.

    Deviates: upstream sends by smtp and sendgrid only where notifications.type is aws, gcp or sandbox.
    """
    section = settings.notifications
    service = section.emailer.email_server_config.service_name
    return service or ("ses" if section.type == "aws" and section.emailer.sender else "")


def publishes(settings: Settings) -> bool:
    """Return whether e-mails are published at a topic and not sent."""
    section = settings.notifications
    return section.type in ("aws", "gcp") and bool(section.publisher.topic_name)


async def write(
    ctx: Context,
    event: event_pb2.WorkflowExecutionEvent,
    spec: bytes,
    closure: execution_pb2.ExecutionClosure,
) -> None:
    """Write a message for each recipient of the notifications of this phase.

    Deviates: upstream refuses the event where a stored notification has an unknown type; here it has no recipients.

    Args:
        ctx: The call of the event.
        event: The last event of the execution.
        spec: The execution's admin.ExecutionSpec.
        closure: The execution's closure.
    """
    facts = _facts(event, spec, closure)
    left_out = number = 0
    for rule, kind, address, template in _recipients(event.phase, closure):
        number += 1
        if number > ctx.settings.notifications.recipients_max:
            left_out += 1
            continue
        content = {**facts, "address": address, "template": template[:TEMPLATE_LENGTH_MAX]}
        await outbox.put(
            ctx,
            target=target_of(address, ctx.settings),
            kind=kind,
            recipient=shown(address),
            execution=event.execution_id,
            content=orjson.dumps(content),
            delivery_id=delivery_id(event.execution_id, event.phase, str(rule), address),
            undeliverable=_problem(address, template, ctx.settings),
        )
    if left_out:
        limited_log.warning(
            "recipients_left_out",
            execution=execution_path(event.execution_id),
            recipients=left_out,
            setting="notifications.recipientsMax",
        )
        await outbox.put(
            ctx,
            target=MAIL,
            kind="email",
            recipient=f"{left_out} more recipients",
            execution=event.execution_id,
            content=b"{}",
            undeliverable=f"more than {ctx.settings.notifications.recipients_max} (notifications.recipientsMax)",
        )


def delivery_id(execution: identifier_pb2.WorkflowExecutionIdentifier, *parts: Any) -> str:
    """Return the id of a message, so that an event writes it once."""
    text = "\n".join((execution_path(execution), *map(str, parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def target_of(address: str, settings: Settings) -> str:
    """Return the target that delivers to an address."""
    if is_webhook(address):
        return WEBHOOK
    return QUEUE if publishes(settings) else MAIL


def is_webhook(address: str) -> bool:
    """Return whether an address receives webhooks and no e-mail."""
    return address.lower().startswith(("https://", "http://", PAGERDUTY))


def shown(address: str) -> str:
    """Return an address as lists and logs show it: of a webhook only the host, because the rest may be a secret."""
    if address.lower().startswith(PAGERDUTY):
        return f"{PAGERDUTY}…"
    if not is_webhook(address):
        return address[:ADDRESS_LENGTH_MAX]
    try:
        return f"{urlsplit(address).scheme}://{urlsplit(address).hostname or ''}/…"[:ADDRESS_LENGTH_MAX]
    except ValueError:
        return "https://…"


def _problem(address: str, template: str, settings: Settings) -> str:
    """Return why a message cannot be delivered, "" where an attempt is worth it."""
    if len(template) > TEMPLATE_LENGTH_MAX:
        return f"the template has {len(template)} characters, more than {TEMPLATE_LENGTH_MAX}"
    if problem := address_problem(address):
        return problem
    return "" if is_webhook(address) or publishes(settings) or mail_service(settings) else NO_TRANSPORT


def address_problem(address: str) -> str:
    """Return why nothing can be sent to an address, "" where an attempt is worth it."""
    if len(address) > ADDRESS_LENGTH_MAX:
        return f"the address has more than {ADDRESS_LENGTH_MAX} characters"
    if is_webhook(address):
        return "" if address.isprintable() else "the address has characters that no address has"
    name, _, host = address.rpartition("@")
    if not name or not host or not address.isprintable() or any(letter in address for letter in ' ,;<>"'):
        return "the recipient is no e-mail address"
    return ""


def _recipients(phase: int, closure: execution_pb2.ExecutionClosure) -> Iterator[tuple[int, _Kind, str, str]]:
    """Yield the place, the type, the recipient and the template of each notification of a phase, without repeats."""
    for place, notification in enumerate(closure.notifications):
        kind: Any = notification.WhichOneof("type")
        if phase in notification.phases and kind is not None:
            rule = getattr(notification, kind)
            for address in dict.fromkeys(one.strip() for one in rule.recipients_email):
                # Deviates: upstream drops the template of a notification.
                yield place, kind, address, rule.template if kind == "email" else ""


def _facts(
    event: event_pb2.WorkflowExecutionEvent, spec: bytes, closure: execution_pb2.ExecutionClosure
) -> dict[str, Any]:
    """Return what messages can mention."""
    id, plan = event.execution_id, execution_pb2.ExecutionSpec.FromString(spec).launch_plan
    workflow = closure.workflow_id
    return {
        "project": id.project,
        "domain": id.domain,
        "name": id.name,
        "phase": core_execution_pb2.WorkflowExecution.Phase.Name(event.phase),
        "error": event.error.message[:ERROR_LENGTH_MAX] if event.HasField("error") else None,
        "occurred_at": event.occurred_at.ToJsonString(),
        "workflow": _id(workflow),
        "launch_plan": _id(plan),
    }


def _id(id: identifier_pb2.Identifier) -> dict[str, str]:
    return {"project": id.project, "domain": id.domain, "name": id.name, "version": id.version}

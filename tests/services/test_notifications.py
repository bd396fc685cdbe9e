"""Which messages the end of an execution writes into the outbox, and what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
import structlog
from flyteidl.admin import common_pb2

from app import errors, limited_log
from app.database.outbox_tables import OutboxMessage
from app.services import events, executions, notifications, outbox
from app.services.phases import Workflow
from app.settings.outbound import Emailer, EmailServer, Notifications
from tests.services.test_events import run_id, workflow_event
from tests.services.test_executions import a_launch, prepare
from tests.support.builders import a_launch_plan

Scenario = Callable[..., Any]


def rule(kind: str, *recipients: str, phases: tuple[int, ...] = (Workflow.FAILED,), template: str = "") -> Any:
    notification = common_pb2.Notification(phases=phases)
    chosen = getattr(notification, kind)
    chosen.recipients_email.extend(recipients)
    if template:
        chosen.template = template
    return notification


async def launch(b: Any, *rules: Any, name: str = "e1") -> None:
    request = a_launch(name)
    request.spec.notifications.notifications.extend(rules)
    await b.call(executions.create_execution, request)


async def end(b: Any, phase: int = Workflow.FAILED, *, name: str = "e1", error: str = "") -> None:
    request = workflow_event(phase, 5, id=run_id(name))
    if error:
        request.event.error.message = error
    await b.call(events.create_workflow_event, request)


async def messages(b: Any, **where: Any) -> list[Any]:
    async with b.context() as ctx:
        return sorted(await ctx.db.find_all(OutboxMessage, **where), key=lambda row: row.id)


def with_mail(b: Any, **changes: Any) -> None:
    server = EmailServer(service_name="smtp", smtp_server="localhost")
    section = Notifications(emailer=Emailer(email_server_config=server, sender="flyte@example.com"))
    b.settings = b.settings.model_copy(update={"notifications": section.model_copy(update=changes)})


def test_each_recipient_of_the_phase_gets_one_message(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b)
        await launch(
            b,
            rule("email", "a@example.com", "b@example.com", "a@example.com", template="{{ name }}"),
            rule("slack", "https://hooks.slack.com/services/T0/B0/secret"),
            rule("pager_duty", "pagerduty:0123456789abcdef", "c@example.com"),
            rule("email", "d@example.com", phases=(Workflow.SUCCEEDED,)),
        )
        assert await messages(b) == []
        await end(b, error="out of cheese")
        found = await messages(b)
        assert [(row.target, row.kind, row.recipient, row.state) for row in found] == [
            ("mail", "email", "a@example.com", "pending"),
            ("mail", "email", "b@example.com", "pending"),
            ("webhook", "slack", "https://hooks.slack.com/…", "pending"),
            ("webhook", "pager_duty", "pagerduty:…", "pending"),
            ("mail", "pager_duty", "c@example.com", "pending"),
        ]
        content = orjson.loads(found[0].content)
        assert content == {
            "project": "p",
            "domain": "development",
            "name": "e1",
            "phase": "FAILED",
            "error": "out of cheese",
            "occurred_at": content["occurred_at"],
            "workflow": {"project": "p", "domain": "development", "name": "wf", "version": "v1"},
            "launch_plan": {"project": "p", "domain": "development", "name": "lp", "version": "v1"},
            "address": "a@example.com",
            "template": "{{ name }}",
        }
        assert orjson.loads(found[2].content)["address"] == "https://hooks.slack.com/services/T0/B0/secret"

    bench(scenario)


def test_an_event_that_is_refused_writes_nothing(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b)
        await launch(b, rule("email", "a@example.com"))
        await end(b)
        with pytest.raises(errors.AlreadyExists):
            await end(b)
        with pytest.raises(errors.FailedPrecondition):
            await end(b, Workflow.ABORTED)
        assert len(await messages(b)) == 1

    bench(scenario)


def test_messages_of_the_launch_plan_unless_disabled(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        plan = a_launch_plan()
        plan.spec.entity_metadata.notifications.append(rule("email", "owner@example.com"))
        await prepare(b, plan)
        with_mail(b)
        for name, disable in (("e1", False), ("e2", True)):
            request = a_launch(name)
            request.spec.disable_all = disable
            await b.call(executions.create_execution, request)
            await end(b, name=name)
        assert [(row.execution_name, row.recipient) for row in await messages(b)] == [("e1", "owner@example.com")]

    bench(scenario)


def test_without_a_transport_the_list_has_the_reason(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await launch(b, rule("email", "a@example.com"))
        await end(b)
        [row] = await messages(b)
        assert (row.state, row.reason, row.next_at) == ("failed", notifications.NO_TRANSPORT, None)

    bench(scenario)


@pytest.mark.parametrize(
    ("address", "template", "reason"),
    [
        ("a b@example.com", "", "the recipient is no e-mail address"),
        ("a@example.com\r\nBcc: b@example.com", "", "the recipient is no e-mail address"),
        ("nobody", "", "the recipient is no e-mail address"),
        ("a\0b@example.com", "", "the recipient is no e-mail address"),
        ("\x1b[2J@example.com", "", "the recipient is no e-mail address"),
        ("https://example.com/\0", "", "the address has characters that no address has"),
        ("a" * 2500 + "@example.com", "", "the address has more than 2000 characters"),
        ("a@example.com", "x" * 1_000_000, "the template has 1000000 characters, more than 65536"),
    ],
)
def test_bad_recipients_and_templates_fail_with_their_reason(
    bench: Scenario, address: str, template: str, reason: str
) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b)
        await launch(b, rule("email", address, "good@example.com", template=template))
        await end(b)
        first, second = await messages(b)
        assert (first.state, first.reason) == ("failed", reason)
        assert first.recipient.isprintable()
        assert second.state == ("failed" if template else "pending")

    bench(scenario)


def test_a_list_of_10_000_recipients_is_cut(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        with_mail(b, recipients_max=20)
        await launch(b, rule("email", *(f"u{number}@example.com" for number in range(10_000))))
        limited_log.clear()
        with structlog.testing.capture_logs() as logs:
            await end(b)
        [line] = [one for one in logs if one["event"] == "recipients_left_out"]
        assert (line["recipients"], line["execution"]) == (9980, "p/development/e1")
        found = await messages(b)
        assert len(found) == 21
        assert (found[-1].recipient, found[-1].state) == ("9980 more recipients", "failed")
        assert found[-1].reason == "more than 20 (notifications.recipientsMax)"

    bench(scenario)


def test_events_without_notifications_run_no_further_statement(bench: Scenario, monkeypatch: Any) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        await launch(b)
        monkeypatch.setattr(outbox, "put", None)
        monkeypatch.setattr(outbox, "publish", None)
        await end(b)

    bench(scenario)

"""Subjects and bodies: the names of upstream, unknown names, and the link to the console."""

from __future__ import annotations

from app.background.notifications import templates
from app.background.notifications.notice import Notice, console_url
from app.settings import Settings
from app.settings.outbound import Emailer
from tests.background.notifications.test_webhooks import FACTS, LINK

ID = ("project", "domain", "name", "version")
NAMES = (*ID[:3], "phase", "error", *(f"{part}.{name}" for part in ("workflow", "launch_plan") for name in ID))
PLAN = {"project": "lp_p", "domain": "lp_d", "name": "lp", "version": "lp_v"}


def notice(template: str = "", **facts: object) -> Notice:
    return Notice("a@example.com", {**FACTS, "launch_plan": PLAN, **facts}, template, LINK)


def test_every_name_of_upstream_in_both_spellings() -> None:
    values = ["p", "d", "e1", "failed", " The execution failed with error: [a < b & c].", "p", "d", "wf", "v1"]
    values += ["lp_p", "lp_d", "lp", "lp_v"]
    for template in ("{{ %s }}", "{{%s}}"):
        section = Emailer(subject="|".join(template % name for name in NAMES))
        wanted = "|".join(values)
        assert templates.subject(notice(), section) == wanted


def test_unknown_names_and_other_spellings_stay() -> None:
    text = "{{ nope }} {{  name  }} {{ name}} {{ workflow.nope }} {name} {{}}"
    assert templates.fill(text, notice().values) == text


def test_values_are_not_filled_in_again() -> None:
    assert templates.fill("{{ name }}", {"name": "{{ phase }}", "phase": "x"}) == "{{ phase }}"


def test_the_indentation_of_a_traceback_stays_in_html() -> None:
    body = templates.body(notice(error="Trace:\n\n  a < b\nend"), Emailer(body="{{ error }}"))
    assert "[Trace:<br>\n<br>\n&nbsp;&nbsp;a &lt; b<br>\nend]" in body


def test_bodies_escape_values_and_link_to_the_console() -> None:
    body = templates.body(notice(), Emailer(body="<b>{{ name }}</b>{{ error }}"))
    assert body == (
        "<b>e1</b> The execution failed with error: [a &lt; b &amp; c]."
        f'<p><a href="{LINK}">Open the execution in the console</a></p>'
    )
    assert templates.body(notice(), Emailer(body="see {{ console_url }}")) == f"see {LINK}"
    assert templates.body(notice(template="own {{ phase }} {{console_url}}"), Emailer(body="x")) == f"own failed {LINK}"


def test_defaults_name_execution_phase_and_error() -> None:
    assert templates.subject(notice(error=None), Emailer()) == "wf failed in p/d: e1"
    assert "Execution p/d/e1 of wf, version v1: failed. The execution failed" in templates.body(notice(), Emailer())


def test_the_address_of_the_console() -> None:
    settings = Settings()
    assert console_url(settings, "p", "d", "e 1") == (
        "http://localhost:30080/console/projects/p/domains/d/executions/e%201"
    )
    admin = settings.flyteadmin.model_copy(update={"console_url": "https://flyte.test/console/"})
    other = settings.model_copy(update={"flyteadmin": admin})
    assert console_url(other, "p", "d", "e").startswith("https://flyte.test/console/projects/p/")

"""Subjects and bodies of notifications.

Source: flyteadmin/pkg/async/notifications/email.go.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping

from app.background.notifications.notice import Notice
from app.settings.outbound import Emailer

SUBJECT = "{{ workflow.name }} {{ phase }} in {{ project }}/{{ domain }}: {{ name }}"
BODY = (
    "<p>Execution {{ project }}/{{ domain }}/{{ name }} of {{ workflow.name }}, version {{ workflow.version }}: "
    "{{ phase }}.{{ error }}</p>"
)
LINK = '<p><a href="{{ console_url }}">Open the execution in the console</a></p>'
SUBJECT_LENGTH_MAX = 300

# One blank on both sides, or none: as upstream.
_NAME = re.compile(r"\{\{( ?)([a-z_]+(?:\.[a-z]+)?)\1\}\}")
_INDENTATION = re.compile(r"(?<=\n) +")
_CONSOLE = re.compile(r"\{\{ ?console_url ?\}\}")


def fill(template: str, values: Mapping[str, str], escape: Callable[[str], str] = str) -> str:
    """Return a template with values for its names; unknown names stay.

    Deviates: upstream replaces one name after the other, so that a value which contains a name is replaced too.
    """

    def value(match: re.Match[str]) -> str:
        found = values.get(match[2])
        return match[0] if found is None else escape(found)

    return _NAME.sub(value, template)


def subject(notice: Notice, section: Emailer) -> str:
    """Return the subject on one line."""
    return " ".join(fill(section.subject or SUBJECT, notice.values).split())[:SUBJECT_LENGTH_MAX]


def body(notice: Notice, section: Emailer) -> str:
    """Return the body in HTML. Values are escaped.

    Deviates: upstream does not escape, so the error of a task can hold markup. It has no link.
    """
    template = notice.template or section.body or BODY
    if not _CONSOLE.search(template):
        template += LINK
    return fill(template, notice.values, _escaped)


def _escaped(value: str) -> str:
    """Return text as HTML, with its lines and their indentation: errors are tracebacks."""
    shown = html.escape(value).replace("\n", "<br>\n")
    return _INDENTATION.sub(lambda match: "&nbsp;" * len(match[0]), shown)


def text(notice: Notice, section: Emailer) -> str:
    """Return subject and error as text, for receivers of webhooks."""
    return f"{subject(notice, section)}.{notice.values['error']}"

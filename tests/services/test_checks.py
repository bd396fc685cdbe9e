"""The checks that many RPCs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, project_pb2
from flyteidl.core import execution_pb2, identifier_pb2

from app import errors
from app.database import schema
from app.services import checks
from tests.support.builders import accepted, an_id

Bench = Callable[..., Any]

NAME = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
SUBDOMAIN = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
DNS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


class TestIdentifiers:
    @pytest.mark.parametrize("part", ["project", "domain", "name", "version"])
    def test_a_missing_part_is_named(self, part: str) -> None:
        id = an_id(identifier_pb2.TASK, "t")
        id.ClearField(part)
        with pytest.raises(errors.InvalidArgument, match=f"^missing {part}$"):
            checks.check_identifier(id, identifier_pb2.TASK)

    def test_no_identifier(self) -> None:
        with pytest.raises(errors.InvalidArgument, match=r"^missing id$"):
            checks.check_identifier(None, identifier_pb2.TASK)

    @pytest.mark.parametrize(("kind", "shown"), [(0, "unspecified"), (3, "launch_plan"), (4, "dataset"), (99, "99")])
    def test_another_resource_type_comes_before_missing_parts(self, kind: int, shown: str) -> None:
        id = identifier_pb2.Identifier(resource_type=kind, name="t")
        with pytest.raises(errors.InvalidArgument) as caught:
            checks.check_identifier(id, identifier_pb2.TASK)
        assert caught.value.message.startswith(f"unexpected resource type {shown} for identifier [")
        assert caught.value.message.endswith('name:"t"], expected task instead')

    def test_a_version_that_is_not_there_is_shown_without_resource_type(self) -> None:
        error = checks.not_registered("TASK", an_id(identifier_pb2.TASK, "t"))
        assert error.message == (
            'missing entity of type TASK with identifier project:"p" domain:"development" name:"t" version:"v1"'
        )


class TestLabels:
    @pytest.mark.parametrize(
        ("key", "value"),
        [("a", ""), ("a", "b"), ("A.b_c-1", "x" * 63), ("example.com/x", "1"), ("x" * 63, "a.b"), ("e/x", "v")],
    )
    def test_fine_ones(self, key: str, value: str) -> None:
        checks.check_labels({key: value})

    @pytest.mark.parametrize(
        ("key", "problem"),
        [
            ("", f"name part must be non-empty name part {NAME}"),
            ("a b", f"name part {NAME}"),
            ("x" * 64, "name part must be no more than 63 characters"),
            ("é" * 40, f"name part must be no more than 63 characters name part {NAME}"),
            ("/a", "prefix part must be non-empty"),
            ("A/a", SUBDOMAIN),
            ("a" * 254 + "/a", "prefix part must be no more than 253 characters"),
            (
                "a/b/c",
                f"a qualified name {NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
            ),
            ("a\n", f"name part {NAME}"),
        ],
    )
    def test_bad_keys(self, key: str, problem: str) -> None:
        with pytest.raises(errors.InvalidArgument) as caught:
            checks.check_labels({key: "v"})
        assert caught.value.message == f"invalid label key [{key}]: [{problem}]"

    @pytest.mark.parametrize(
        ("value", "problem"), [("b c", VALUE), ("x" * 64, "must be no more than 63 characters"), ("-", VALUE)]
    )
    def test_bad_values(self, value: str, problem: str) -> None:
        with pytest.raises(errors.InvalidArgument) as caught:
            checks.check_labels({"a": value})
        assert caught.value.message == f"invalid label value [{value}]: [{problem}]"

    def test_their_number(self) -> None:
        checks.check_labels({f"l{i}": "" for i in range(16)})
        with pytest.raises(errors.InvalidArgument, match=r"^labels map cannot exceed 16 entries$"):
            checks.check_labels({f"l{i}": "" for i in range(17)})


class TestDnsLabel:
    @pytest.mark.parametrize("value", ["a", "a-b", "0", "x" * 63])
    def test_fine_ones(self, value: str) -> None:
        assert checks.dns_label_problems(value) == []

    @pytest.mark.parametrize("value", ["A", "-a", "a-", "a..b", "é", "a\n", ""])
    def test_bad_ones(self, value: str) -> None:
        assert checks.dns_label_problems(value) == [DNS_LABEL]

    def test_dots(self) -> None:
        assert checks.dns_label_problems("a.b") == ["must not contain dots"]

    def test_length_counts_apart(self) -> None:
        assert checks.dns_label_problems("x" * 64) == ["must be no more than 63 characters"]
        assert len(checks.dns_label_problems("X" * 64)) == 2


class TestLength:
    def test_bytes_count(self) -> None:
        checks.check_length("é" * 32, "project_name", 64)
        with pytest.raises(errors.InvalidArgument, match=r"^project_name cannot exceed 64 characters$"):
            checks.check_length("é" * 33, "project_name", 64)


class TestNotifications:
    @pytest.mark.parametrize(
        ("notification", "message"),
        [
            (common_pb2.Notification(), "invalid value for notification type"),
            (common_pb2.Notification(slack=common_pb2.SlackNotification()), "missing recipients"),
            (
                common_pb2.Notification(pager_duty=common_pb2.PagerDutyNotification(recipients_email=["a", ""])),
                "missing recipient",
            ),
            (
                common_pb2.Notification(
                    email=common_pb2.EmailNotification(recipients_email=["a"]),
                    phases=[execution_pb2.WorkflowExecution.FAILED, execution_pb2.WorkflowExecution.RUNNING],
                ),
                "invalid value for phase",
            ),
        ],
    )
    def test_bad_ones(self, notification: common_pb2.Notification, message: str) -> None:
        with pytest.raises(errors.InvalidArgument, match=f"^{message}$"):
            checks.check_notifications([notification])

    def test_no_phases_is_fine(self) -> None:
        email = common_pb2.EmailNotification(recipients_email=["a"])
        assert accepted(checks.check_notifications, [common_pb2.Notification(email=email)])


class TestProjects:
    STATES = (
        ("active", project_pb2.Project.ACTIVE),
        ("archived", project_pb2.Project.ARCHIVED),
        ("generated", project_pb2.Project.SYSTEM_GENERATED),
        ("odd", 42),
    )

    async def _fill(self, b: Any) -> None:
        async with b.context() as ctx:
            for name, state in self.STATES:
                await ctx.db.insert(schema.Project, identifier=name, name=name, description="", state=state)

    async def _message(self, b: Any, check: Any, *parts: str) -> str:
        async with b.context() as ctx:
            try:
                await check(ctx, *parts)
            except errors.InvalidArgument as error:
                return error.message + str([str(detail).strip() for detail in error.details])
        return ""

    def test_project_and_domain(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            check = checks.check_project_and_domain
            assert await self._message(b, check, "active", "staging") == ""
            assert await self._message(b, check, "active", "moon") == "domain [moon] is unrecognized by system[]"
            assert await self._message(b, check, "", "staging") == "missing project[]"
            assert await self._message(b, check, "none", "staging") == (
                "failed to validate that project [none] and domain [staging] are registered, "
                "err: [project [none] not found][]"
            )
            for name, state in self.STATES[1:]:
                expected = f"project [{name}] is not active['id: \"{name}\"']"
                assert await self._message(b, check, name, "moon") == expected, state

        bench(scenario)

    def test_project_for_update_tells_no_detail(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            check = checks.check_project_for_update
            assert await self._message(b, check, "active") == ""
            assert await self._message(b, check, "archived") == "project [archived] is not active[]"
            assert await self._message(b, check, "") == "missing project[]"
            assert await self._message(b, check, "none") == (
                "failed to validate that project [none] is registered, err: [project [none] not found][]"
            )

        bench(scenario)

    def test_project_exists_whatever_its_state(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            check = checks.check_project_exists
            for name, _ in self.STATES:
                assert await self._message(b, check, name) == ""
            assert await self._message(b, check, "none") == (
                "failed to validate that project [none] exists, err: [project [none] not found][]"
            )

        bench(scenario)

    def test_domains_come_from_the_configuration(self, bench: Bench) -> None:
        async def scenario(b: Any) -> None:
            await self._fill(b)
            assert await self._message(b, checks.check_project_and_domain, "active", "moon") == ""
            message = await self._message(b, checks.check_project_and_domain, "active", "development")
            assert message == "domain [development] is unrecognized by system[]"

        bench(scenario, domains=[{"id": "moon", "name": "Moon"}])

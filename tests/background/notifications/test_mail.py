"""E-mails by SMTP and SendGrid, at real servers: headers, TLS, passwords, refusals."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.background.http_out import HttpOut
from app.background.notifications import smtp
from app.background.notifications.mail import Mail, MailTarget
from app.background.notifications.notice import Notice
from app.background.notifications.sendgrid import SendGrid
from app.background.notifications.smtp import Smtp
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting, Settings
from app.settings.outbound import Emailer, EmailServer, Notifications
from tests.support.certificates import Authority, write_pair
from tests.support.http_receiver import http_receiver
from tests.support.smtp_server import MailBox, smtp_server

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SENDER = "Flyte <flyte@example.com>"


def settings_of(port: int = 0, **changes: Any) -> Settings:
    server = EmailServer(service_name="smtp", smtp_server="localhost", smtp_port=str(port)).model_copy(update=changes)
    emailer = Emailer(email_server_config=server, sender=SENDER)
    return Settings(notifications=Notifications(emailer=emailer))


def mail(recipient: str = "a@example.com", subject: str = "hello", html: str = "<p>bye</p>") -> Mail:
    return Mail("d1", SENDER, recipient, subject, html, NOW)


async def send(service: Smtp, *mails: Mail) -> list[str]:
    try:
        return [await service.send(one) for one in mails]
    finally:
        await service.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def contexts(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ssl.SSLContext]:
    """Return a function that makes the server's context for a name; clients trust its authority."""
    client = ssl.create_default_context(cafile=str(authority.write(tmp_path / "ca.pem")))
    monkeypatch.setattr(smtp, "trusted", lambda: client)

    def make(name: str = "localhost") -> ssl.SSLContext:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(*write_pair(tmp_path, authority.issue(name)))
        return found

    return make


class TestMessages:
    def test_headers_and_body(self) -> None:
        async def scenario() -> MailBox:
            async with smtp_server() as box:
                one = mail(subject="Größe" * 30, html="<p>ü & <b>x</b></p>\n.\n" + "long " * 500)
                assert await send(Smtp(settings_of(box.port)), one) == ["250 queued"]
                assert one.conversation[0].startswith("220 mail.test")
                assert one.conversation[1:4] == [
                    "> MAIL FROM:<flyte@example.com>",
                    "250 OK",
                    "> RCPT TO:<a@example.com>",
                ]
            return box

        box = asyncio.run(scenario())
        [found] = box.messages
        assert (found["To"], found["From"], found["Auto-Submitted"]) == ("a@example.com", SENDER, "auto-generated")
        assert (found["Message-ID"], found["Subject"]) == ("<d1@example.com>", "Größe" * 30)
        assert found["Date"].datetime == NOW
        assert found.get_content_type() == "text/html"
        assert found.get_content().replace("\r\n", "\n").startswith("<p>ü & <b>x</b></p>\n.\nlong long")
        assert box.senders == ["flyte@example.com"]

    def test_names_of_users_add_no_headers(self) -> None:
        facts = {
            "project": "p",
            "domain": "d",
            "name": "a\r\nBcc: b@example.com",
            "phase": "FAILED",
            "error": "<script>x</script>",
            "workflow": dict.fromkeys(("project", "domain", "name", "version"), "w\r\nX: y"),
            "launch_plan": dict.fromkeys(("project", "domain", "name", "version"), ""),
        }
        target = MailTarget(settings_of(), None)  # type: ignore[arg-type]
        made = target.mail(Notice("a@example.com", facts, "", "http://console"), "d1", NOW)
        head, _, body = made.message().decode().partition("\r\n\r\n")
        assert "\nBcc" not in head
        assert "\nX:" not in head
        assert "<script>" not in body
        assert "&lt;script&gt;" in made.html

    def test_a_null_return_path(self) -> None:
        async def scenario() -> None:
            async with smtp_server() as box:
                await send(Smtp(settings_of(box.port, smtp_null_return_path=True)), mail())
                assert box.senders == ["<>"]

        asyncio.run(scenario())


class TestTls:
    def test_starttls_where_it_is_offered(self, contexts: Any) -> None:
        async def scenario() -> None:
            async with smtp_server(tls=contexts()) as box:
                await send(Smtp(settings_of(box.port)), mail())
                assert box.encrypted == [True]
                await send(Smtp(settings_of(box.port, smtp_tls="off")), mail())
                assert box.encrypted == [True, False]

        asyncio.run(scenario())

    def test_implicit_tls(self, contexts: Any) -> None:
        async def scenario() -> None:
            async with smtp_server(tls=contexts(), implicit=True) as box:
                await send(Smtp(settings_of(box.port, smtp_tls="implicit")), mail())
                assert box.encrypted == [True]

        asyncio.run(scenario())

    def test_tls_that_is_required_and_not_offered(self) -> None:
        async def scenario() -> None:
            async with smtp_server() as box:
                with pytest.raises(Away, match="offers no STARTTLS"):
                    await send(Smtp(settings_of(box.port, smtp_tls="required")), mail())
                assert box.messages == []

        asyncio.run(scenario())

    def test_a_certificate_of_another_name(self, contexts: Any) -> None:
        async def scenario() -> None:
            async with smtp_server(tls=contexts("other.test")) as box:
                service = Smtp(settings_of(box.port))
                assert "certificate" in (await service.check()).lower()
                with pytest.raises(Away, match=r"(?i)certificate"):
                    await send(service, mail())
                await send(Smtp(settings_of(box.port, smtp_skip_tls_verify=True)), mail())
                assert box.encrypted == [True]

        asyncio.run(scenario())


class TestPasswords:
    def test_the_password_is_read_for_each_connection(self, tmp_path: Path, contexts: Any) -> None:
        async def scenario() -> None:
            async with smtp_server(tls=contexts(), auth_required=True) as box:
                settings = settings_of(box.port, smtp_username="flyte", smtp_password_secret_name="smtp")
                secrets = settings.secrets.model_copy(update={"secrets_prefix": str(tmp_path)})
                settings = settings.model_copy(update={"secrets": secrets})
                service, file = Smtp(settings), tmp_path / "smtp"
                file.write_text("wrong\n")
                problem = await service.check()
                assert "535" in problem
                assert "wrong" not in problem
                with pytest.raises(Away):
                    await service.send(mail())
                file.write_text("right\n")
                one = mail()
                await send(service, one)
                assert box.logins[-1] == ("flyte", "right")
                assert not any("right" in line for line in one.conversation)

        asyncio.run(scenario())

    def test_no_password_in_clear_text_over_a_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            async with smtp_server(auth_require_tls=False) as box:
                monkeypatch.setattr(smtp, "is_loopback", lambda _: False)
                settings = settings_of(box.port, smtp_username="flyte", smtp_password_secret_name="smtp")
                with pytest.raises(Away, match="not sent in clear text"):
                    await send(Smtp(settings), mail())
                assert box.logins == []

        asyncio.run(scenario())


class TestRefusals:
    def test_each_recipient_has_an_outcome_of_its_own(self) -> None:
        async def scenario() -> None:
            async with smtp_server() as box:
                box.replies = {"no@example.com": "550 no such user", "later@example.com": "451 greylisted"}
                service = Smtp(settings_of(box.port))
                with pytest.raises(MessageRefused, match="RCPT TO: 550 no such user"):
                    await service.send(mail("no@example.com"))
                with pytest.raises(TryAgain, match="RCPT TO: 451 greylisted"):
                    await service.send(mail("later@example.com"))
                await send(service, mail("yes@example.com"))
                assert (box.recipients, len(box.sessions)) == (["yes@example.com"], 1)

        asyncio.run(scenario())

    def test_a_refused_content(self) -> None:
        async def scenario() -> None:
            async with smtp_server() as box:
                box.replies = {"data": "554 spam"}
                with pytest.raises(MessageRefused, match="DATA: 554 spam"):
                    await send(Smtp(settings_of(box.port)), mail())

        asyncio.run(scenario())

    def test_a_connection_that_ends_after_the_content_is_tried_again(self) -> None:
        async def scenario() -> None:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"220 hi\r\n")
                while line := await reader.readline():
                    if line == b".\r\n":
                        break
                    known = line[:4].upper() in (b"EHLO", b"MAIL", b"RCPT", b"DATA")
                    writer.write(b"354 go\r\n" if line[:4] == b"DATA" else b"250 ok\r\n" if known else b"")
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            with pytest.raises(TryAgain, match="DATA"):
                await send(Smtp(settings_of(server.sockets[0].getsockname()[1])), mail())
            server.close()

        asyncio.run(scenario())

    def test_nobody_listens(self) -> None:
        async def scenario() -> None:
            service = Smtp(settings_of(1))
            with pytest.raises(Away, match="SMTP server localhost:1"):
                await service.send(mail())
            assert "localhost:1" in await service.check()

        asyncio.run(scenario())

    def test_connections_are_used_again_and_closed_ones_are_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            async with smtp_server() as box:
                service = Smtp(settings_of(box.port))
                for number in range(5):
                    await service.send(mail(f"u{number}@example.com"))
                assert len(box.sessions) == 1
                service._idle[0][0].transport.abort()
                await service.send(mail())
                assert len(box.messages) == 6
                await service.close()

        asyncio.run(scenario())

    @pytest.mark.parametrize(("port", "setting"), [("x", "smtpPort"), ("70000", "smtpPort")])
    def test_unusable_settings(self, port: str, setting: str) -> None:
        with pytest.raises(BadSetting, match=setting):
            Smtp(settings_of(port))  # type: ignore[arg-type]
        with pytest.raises(BadSetting, match="smtpServer"):
            Smtp(settings_of(25, smtp_server=""))


class TestSendGrid:
    def test_a_request_and_its_outcomes(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            async with http_receiver() as receiver:
                key = tmp_path / "key"
                key.write_text("SG.one\n")
                url = f"http://127.0.0.1:{receiver.port}"
                settings = settings_of(api_key_file_path=str(key), sendgrid_url=url)
                service = SendGrid(settings, HttpOut(("127.0.0.0/8",)))
                assert await service.check() == ""
                receiver.answer = lambda _: 202
                assert await service.send(mail()) == "202"
                [request] = receiver.received
                assert request.headers["authorization"] == "Bearer SG.one"
                assert orjson.loads(request.body) == {
                    "personalizations": [{"to": [{"email": "a@example.com"}], "subject": "hello"}],
                    "from": {"name": "Flyte Notifications", "email": "flyte@example.com"},
                    "content": [{"type": "text/html", "value": "<p>bye</p>"}],
                    "headers": {"Auto-Submitted": "auto-generated"},
                    "custom_args": {"delivery_id": "d1"},
                }
                key.write_text("SG.two\n")
                receiver.answer = lambda _: (429, {"retry-after": "7"})
                with pytest.raises(TryAgain) as again:
                    await service.send(mail())
                assert again.value.after_seconds == 7
                assert receiver.received[-1].headers["authorization"] == "Bearer SG.two"
                for status, kind in ((400, MessageRefused), (401, Away), (500, TryAgain)):
                    receiver.answer = lambda _, status=status: status  # type: ignore[misc]
                    with pytest.raises(kind, match=str(status)):
                        await service.send(mail())
                await service.close()

        asyncio.run(scenario())

    def test_a_missing_key_ends_the_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        for changes in ({}, {"api_key_env_var": "NO_SUCH_KEY"}, {"api_key_file_path": str(tmp_path / "none")}):
            with pytest.raises(BadSetting, match="apiKey"):
                SendGrid(settings_of(**changes), HttpOut(()))

"""The rules about Host, Origin and bodies of web pages, without the listeners (test_listeners.py)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import limited_log
from app.api.http import origins
from app.api.http.origins import Origins, start_warnings
from app.settings import BadSetting, Settings, load
from app.settings.hosts import host_of, host_port, is_ip

OWN = "http://localhost:30080"
CONSOLE = "https://console.example"
JSON = {"content-type": "application/json"}


def rules(**security: Any) -> Origins:
    values: dict[str, Any] = {"server": {"security": {"allowed_origins": (CONSOLE,), **security}}}
    return Origins(Settings.model_validate(values))


def verdict(
    given: dict[str, str], method: str = "GET", target: str = "/api/v1/projects", of: Origins | None = None, **how: bool
) -> int:
    """The status of the refusal, 0 for a request that is served."""
    fields = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    refusal = (of or rules()).refusal(method, target.encode("latin-1"), fields, **how)
    if refusal is None:
        return 0
    assert "server.security.allowed" in refusal.error.message
    return refusal.status


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:30080", "LOCALHOST", "localhost.", "localhost.:30080", "localhost:", "a.localhost"),
        *("127.0.0.1", "127.0.0.1:1", "127.0.0.1.", "10.1.2.3:30080", "0.0.0.0:30080", "127.1", "0x7f.1", "2130706433"),
        *("[::1]", "[::1]:30080", "[FE80::1]:1", "[fe80::1%25eth0]:1", "[::ffff:127.0.0.1]:1"),
        *("flyte.internal", "Flyte.Internal.:443", "flyteadmin", "flyteadmin:80", "public.example", "mcp.internal:9"),
        *("laptop.lan:30080", "xn--mnchen-3ya.example"),
        "",
    ],
)
def test_hosts_that_are_served(host: str) -> None:
    settings = Settings.model_validate(
        {
            "server": {
                "host": "laptop.lan",
                "public_url": "https://Public.example/flyte",
                "security": {"allowed_hosts": ("flyte.internal.:8080", "münchen.example")},
            },
            "auth": {"authorized_uris": ("http://flyteadmin:81", "dns:///other", "flyte admin")},
            "mcp": {"allowed_hosts": ("MCP.internal",)},
        }
    )
    assert verdict({"host": host}, of=Origins(settings)) == 0


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:30080", "localhost.evil.example", "127.0.0.1.evil.example", "localhostx", "a"),
        *("localhost@evil.example", "evil.example@localhost", "localhost:30080@evil.example", "u:p@localhost:30080"),
        *(
            "localhost/evil.example",
            "localhost#evil.example",
            "localhost?x",
            "localhost\\evil.example",
            "http://localhost",
        ),
        *("localhost, evil.example", "localhost evil.example", "localhost;evil.example", " localhost", "localhost\t"),
        *(
            "localhost..",
            ".localhost",
            "a..localhost",
            "%6cocalhost",
            "localhost:30080:1",
            "localhost:x",
            "localhost:99999",
        ),
        *(
            "::1",
            "[::1",
            "[::1]x",
            "[evil.example]",
            "[1]",
            "[v1.a]",
            "1.2.3.4.5",
            "256.1.1.1",
            "evil.1",
            "b\xfccher.example",
        ),
        "x" * 300 + ".localhost",
    ],
)
def test_hosts_that_are_refused(host: str) -> None:
    assert verdict({"host": host}) == 421


def test_two_hosts_and_none() -> None:
    fields = [(b"host", b"localhost"), (b"host", b"localhost")]
    refusal = rules().refusal("GET", b"/", fields)
    assert refusal is not None
    assert refusal.status == 421
    assert rules().refusal("GET", b"/", []) is None


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "http://evil.example/api/v1/projects", 421),
        ("GET", "HTTPS://evil.example:1?x", 421),
        ("GET", "http://localhost@evil.example/", 421),
        ("GET", "http://localhost:30080/api/v1/projects", 0),
        ("GET", "http://[::1]:30080#evil.example", 0),
        ("OPTIONS", "*", 0),
        ("CONNECT", "evil.example:443", 421),
        ("CONNECT", "127.0.0.1:443", 0),
        ("GET", "/http://evil.example/", 0),
        ("GET", "//evil.example/", 0),
    ],
)
def test_targets_of_other_forms(method: str, target: str, status: int) -> None:
    assert verdict({"host": "localhost"}, method, target) == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:30080", OWN, 0),
        ("localhost:30080", "https://localhost:30080", 0),
        ("LOCALHOST.:30080", OWN, 0),
        ("[::1]:30080", "http://[::1]:30080", 0),
        ("10.0.0.1", "http://10.0.0.1", 0),
        ("10.0.0.1:80", "http://10.0.0.1", 0),
        ("10.0.0.1:443", "https://10.0.0.1", 0),
        ("localhost:30080", CONSOLE, 0),
        ("flyteadmin", "https://public.example", 0),
        # The same machine under another port, name, scheme or address is another origin.
        ("localhost:30080", "http://localhost:5173", 403),
        ("localhost:30080", "http://localhost", 403),
        ("localhost:30080", "http://127.0.0.1:30080", 403),
        ("localhost:30080", "ws://localhost:30080", 403),
        ("localhost:30080", "http://a.localhost:30080", 403),
        ("localhost:30080", "http://evil.example", 403),
        ("localhost:30080", "http://evil.example:30080", 403),
        ("localhost:30080", f"{CONSOLE}:8443", 403),
        ("localhost:30080", "http://console.example", 403),
        ("localhost:30080", f"{CONSOLE}.evil.example", 403),
        ("localhost:30080", f"{OWN}@evil.example", 403),
        ("localhost:30080", "null", 403),
        ("localhost:30080", "", 403),
        ("localhost:30080", "*", 403),
        ("localhost:30080", "file://", 403),
        ("localhost:30080", "chrome-extension://abcdefghijklmnop", 403),
        ("localhost:30080", "vscode-webview://1k2j", 403),
        ("localhost:30080", f"{OWN}, http://evil.example", 403),
        ("localhost:30080", f"http://evil.example, {OWN}", 403),
        ("localhost:30080", f"http://{'x' * 5000}", 403),
        ("", OWN, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_origins(method: str, host: str, origin: str, status: int) -> None:
    settings = Settings.model_validate(
        {
            "server": {"security": {"allowed_origins": (f"{CONSOLE.upper()}:443/",), "allowed_hosts": ("flyteadmin",)}},
            "auth": {"authorized_uris": ("https://public.example/",)},
        }
    )
    assert verdict({"host": host, "origin": origin, **JSON}, method, of=Origins(settings)) == status


def test_two_origins_are_none() -> None:
    fields = [(b"host", b"localhost:30080"), (b"origin", OWN.encode()), (b"origin", OWN.encode())]
    refusal = rules().refusal("GET", b"/", fields)
    assert refusal is not None
    assert refusal.status == 403


def test_an_origin_of_the_same_host_that_the_browser_calls_another_site() -> None:
    page = {"host": "flyte.internal", "origin": "http://flyte.internal", **JSON}
    of = rules(allowed_hosts=("flyte.internal",))
    assert verdict(page, "POST", of=of) == 0
    assert verdict({**page, "sec-fetch-site": "same-origin"}, "POST", of=of) == 0
    assert verdict({**page, "sec-fetch-site": "cross-site"}, "POST", of=of) == 403
    assert verdict({**page, "sec-fetch-site": "same-site"}, "POST", of=of) == 403
    assert verdict({**page, "origin": CONSOLE, "sec-fetch-site": "cross-site"}, "POST", of=of) == 0


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://"])
def test_every_origin_where_the_settings_say_so(origin: str) -> None:
    of = rules(allowed_origins=("*",))
    assert verdict({"host": "localhost", "origin": origin, **JSON, "content-length": "2"}, "POST", of=of) == 0
    text = {"host": "localhost", "origin": origin, "content-type": "text/plain", "content-length": "2"}
    assert verdict(text, "POST", of=of) == 415
    assert verdict({"host": "evil.example", "origin": origin}, of=of) == 421


FROM_PAGES = [{"origin": OWN}, {"origin": CONSOLE}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
FROM_PROGRAMS = [{}, {"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-mode": "cors"}]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        *[("application/json", 0), ("Application/JSON; charset=utf-8", 0), ("application/octet-stream", 0)],
        *[("application/x-protobuf", 0), ("application/protobuf", 0), ("application/grpc-web+proto", 0)],
        *[("application/grpc-web", 0), ("application/grpc-web-text", 0)],
        *[("text/plain", 415), ("text/plain;charset=UTF-8", 415), ("text/plain; application/json", 415)],
        *[("application/x-www-form-urlencoded", 415), ("multipart/form-data; boundary=x", 415), ("", 415)],
        *[("application/json, text/plain", 415), ("text/plain, application/json", 415), ("application/jsonx", 415)],
        *[("application/csp-report", 415), ("application/reports+json", 415), ("text/ping", 415), ("text/json", 415)],
    ],
)
def test_types_of_bodies(content_type: str, status: int) -> None:
    head = {"host": "localhost:30080", "content-type": content_type}
    for framing in ({"content-length": "2"}, {"transfer-encoding": "chunked"}):
        for page in FROM_PAGES:
            for method in ("POST", "PUT", "PATCH", "DELETE", "GET"):
                assert verdict({**head, **framing, **page}, method) == status, (page, method)
        for program in FROM_PROGRAMS:
            assert verdict({**head, **framing, **program}, "POST") == 0, program


def test_a_body_without_a_type() -> None:
    head = {"host": "localhost:30080", "origin": OWN}
    assert verdict({**head, "content-length": "2"}, "POST") == 415
    assert verdict({**head, "content-length": "0"}, "POST") == 0
    assert verdict(head, "POST") == 0
    assert verdict(head, "POST", http2=True) == 415
    assert verdict(head, "DELETE", http2=True) == 0


def test_endpoints_that_take_other_types() -> None:
    head = {"host": "localhost:30080", "origin": OWN, "content-type": "text/plain", "content-length": "2"}
    served = [("PUT", "/storage/a/b"), ("POST", "/oauth2/token"), ("POST", "/callback")]
    refused = [
        *[("POST", "/storage/a/b"), ("PUT", "/storagex"), ("PUT", "/%73torage/a"), ("PUT", "/x/storage/a")],
        *[
            ("POST", "/oauth2/token/"),
            ("POST", "//oauth2/token"),
            ("POST", "/callback/x"),
            ("POST", "/oauth2/authorize"),
        ],
    ]
    assert [verdict(head, method, target) for method, target in served] == [0] * len(served)
    assert [verdict(head, method, target) for method, target in refused] == [415] * len(refused)
    assert verdict({**head, "origin": "http://evil.example"}, "PUT", "/storage/a/b") == 403


@pytest.mark.parametrize("mode", ["navigate", "no-cors"])
def test_links_and_frames_of_other_sites(mode: str) -> None:
    assert (
        verdict({"host": "localhost:30080", "sec-fetch-site": "cross-site", "sec-fetch-mode": mode}, "GET", "/docs")
        == 0
    )


def test_native_grpc_has_any_name_but_no_page() -> None:
    call = {"host": "flyteadmin.flyte.svc.cluster.local:81", "content-type": "application/grpc"}
    native = {"http2": True, "grpc": True}
    assert verdict(call, "POST", "/a.B/C", **native) == 0
    assert verdict(call, "POST", "/a.B/C", grpc=True) == 421
    assert verdict(call, "POST", "/a.B/C", http2=True) == 421
    assert verdict({**call, "origin": "http://evil.example"}, "POST", "/a.B/C", **native) == 421
    assert verdict({**call, "host": "localhost", "origin": "http://evil.example"}, "POST", "/a.B/C", **native) == 403
    assert verdict({**call, "host": "localhost", "origin": CONSOLE}, "POST", "/a.B/C", **native) == 0


def test_many_hosts_take_bounded_memory_and_few_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = rules()
    limited_log.clear()
    for number in range(5000):
        assert verdict({"host": f"{'x' * 10_000}.{number}"}, of=of) == 421
        assert verdict({"host": f"evil-{number}.example"}, of=of) == 421
    assert of._host_refusal.cache_info().currsize <= origins.VERDICTS_MAX
    assert capsys.readouterr().out.count("request_refused") == 1
    limited_log.clear()
    assert verdict({"host": "evil-1.example"}, of=of) == 421
    assert "evil-1.example" in capsys.readouterr().out


LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PORT = st.integers(0, 65535)


@pytest.mark.heavy
@given(NAME, st.none() | PORT, st.sampled_from(["", "."]))
def test_a_name_is_served_where_it_is_allowed_and_only_there(name: str, port: int | None, dot: str) -> None:
    host = f"{name}{dot}" + ("" if port is None else f":{port}")
    assert host_port(host) == (name, port or None if port is None else port)
    known = is_ip(name) or name == "localhost" or name.endswith(".localhost")
    assert verdict({"host": host}) == (0 if known else 421)
    assert verdict({"host": host.upper()}, of=rules(allowed_hosts=(name,))) == 0


@given(st.ip_addresses(), st.none() | PORT)
def test_every_address_is_served(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int | None) -> None:
    host = f"[{address}]" if address.version == 6 else str(address)
    assert verdict({"host": host + ("" if port is None else f":{port}")}) == 0


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=300))
def test_any_text_as_host_and_origin_gets_a_verdict(text: str) -> None:
    parsed = host_port(text)
    if parsed is not None:
        # A second look, with other code, finds no other host in what is served.
        assert host_of(f"http://{text}/") == parsed.host
        assert not set(text) & set("/\\@?# \t\r\n,;%") or text.startswith("[")
    assert verdict({"host": text}) in (0, 421)
    assert verdict({"host": "localhost", "origin": text}) in (0, 403)


@pytest.mark.heavy
@given(NAME, PORT, NAME, PORT, st.sampled_from(["http", "https"]))
def test_an_origin_is_own_only_with_the_same_name_and_port(
    name: str, port: int, other: str, other_port: int, scheme: str
) -> None:
    of = rules(allowed_hosts=("*",))
    page = {"host": f"{name}:{port}", "origin": f"{scheme}://{other}:{other_port}"}
    same = name == other and (port or 0) == (other_port or 0)
    assert verdict(page, of=of) == (0 if same else 403)


@pytest.mark.parametrize(
    "value", ["http://flyte.example", "flyte.example/x", "u@flyte", "a b", "*.example", "a..b", "é" * 80]
)
def test_names_in_the_settings_are_checked(value: str) -> None:
    for key in ("FLYTEADMIN__SERVER__SECURITY__ALLOWEDHOSTS", "FLYTEADMIN__MCP__ALLOWEDHOSTS"):
        with pytest.raises(BadSetting, match=r"ALLOWEDHOSTS|allowed_?hosts"):
            load(environ={key: f"['{value}']"})


def test_what_the_start_warns_of(tmp_path: Path) -> None:
    def lines(**server: Any) -> str:
        return "\n".join(start_warnings(Settings.model_validate({"home": tmp_path, "server": server})))

    assert lines() == lines(host="localhost") == lines(host="::1") == lines(host="127.0.0.2") == ""
    assert lines(security={"allowed_origins": (CONSOLE, "chrome-extension://abc"), "allowed_hosts": ("a.b",)}) == ""
    assert 'allowedOrigins has "*": every web page' in lines(security={"allowed_origins": ("*",)})
    assert 'allowedOrigins has "null": every web page' in lines(security={"allowed_origins": ("null",)})
    assert 'has "localhost:3000", which is no origin' in lines(security={"allowed_origins": ("localhost:3000",)})
    assert 'server.security.allowedHosts has "*"' in lines(security={"allowed_hosts": ("*",)})
    for host in ("0.0.0.0", "::", "192.168.1.5", "laptop.lan"):
        assert f"server.host={host} is reachable from other machines" in lines(host=host)
        assert "run commands on this one" in lines(host=host)
    settings = Settings.model_validate({"server": {"host": "::"}, "engine": {"kind": "none"}})
    assert "can launch executions, read all data" in "\n".join(start_warnings(settings))


FOREIGN = "evil.example.com"


@pytest.mark.parametrize(
    ("given", "with_token", "without"),
    [
        ({"host": FOREIGN}, 0, 421),
        ({"host": FOREIGN, "authorization": "Bearer x"}, 0, 421),
        ({"host": FOREIGN, "cookie": "flyte_session=x"}, 421, 421),
        ({"host": FOREIGN, "origin": f"http://{FOREIGN}"}, 421, 421),
        ({"host": FOREIGN, "sec-fetch-site": "cross-site"}, 421, 421),
        ({"host": "localhost:30080", "origin": f"http://{FOREIGN}"}, 403, 403),
        ({"host": "localhost:30080", "cookie": "flyte_session=x"}, 0, 0),
    ],
)
def test_a_foreign_host_is_served_only_where_every_caller_needs_a_token(
    given: dict[str, str], with_token: int, without: int
) -> None:
    on = {"server": {"security": {"use_auth": True}}}
    assert verdict(given, of=Origins(Settings.model_validate(on), authenticated=True)) == with_token
    for settings, authenticated in (
        (on, False),
        ({}, True),
        ({**on, "auth": {"disable_for_http": True}}, True),
    ):
        assert verdict(given, of=Origins(Settings.model_validate(settings), authenticated=authenticated)) == without

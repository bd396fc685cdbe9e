"""`flyteadmin serve`: the server."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Files, errors_in_one_line, load_settings, progress, sources_of
from app.cli.program import program

if TYPE_CHECKING:
    from app.server.startup import Started
    from app.settings import Settings

_number = partial(typer.Option, metavar="NUMBER")


def serve(
    context: typer.Context,
    port: Annotated[int | None, _number(help="Port of REST, gRPC and the documentation. [default: 30080]")] = None,
    grpc_port: Annotated[int | None, _number(help="Port of gRPC alone. [default: 30081]")] = None,
    metrics_port: Annotated[int | None, _number(help="Port of the metrics for Prometheus. [default: 10254]")] = None,
    mcp_port: Annotated[int | None, _number(help="Serve MCP tools for AI assistants, at /mcp. [default: off]")] = None,
    rest_adapter_port: Annotated[
        int | None, _number(help="Serve the operations of the MCP tools as REST. [default: off]")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    workers: Annotated[int | None, _number(help="Number of server processes. [default: 1]")] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Serve TLS with a certificate of an authority of this machine.")
    ] = False,
    scheduler: Annotated[
        bool | None,
        typer.Option("--scheduler/--no-scheduler", help="Fire the schedules of launch plans.", show_default="on"),
    ] = None,
    console: Annotated[
        bool | None,
        typer.Option("--console/--no-console", help="Serve the console for browsers.", show_default="on"),
    ] = None,
    config: Files = None,
) -> None:
    """Make the home folder, migrate the database, and serve the API.

    Other settings come from files and the environment: see `flyteadmin config docs`.
    """
    from app.runtime import descriptors
    from app.server import logs, reload, startup
    from app.server.start_interrupt import StartInterrupt

    reload.ignore_hangup()
    interrupt = StartInterrupt()
    flags = {
        "server__http_port": port,
        "server__grpc__port": grpc_port,
        "flyteadmin__profiler_port": metrics_port,
        # A port for one of the adapters switches both on; FLYTEADMIN_MCP=1 does so at their default ports.
        "mcp__enabled": None if mcp_port is rest_adapter_port is None else True,
        "mcp__port": mcp_port,
        "mcp__adapter_port": rest_adapter_port,
        "server__host": host,
        "server__workers": workers,
        "scheduler__enabled": scheduler,
        "console__enabled": console,
        "server__security__secure": True if tls else None,
        "server__security__ssl__local_authority": True if tls else None,
    }
    with errors_in_one_line():
        settings = load_settings(context, config, **flags)
        logs.set_up(settings)
        descriptors.raise_limit()
        output = progress()
        started = startup.prepare(settings, output)
        if warning := address_warning(started.settings):
            output.line(f"warning: {warning}")
        from app.server import serve as processes

        source = reload.SettingsSource(*sources_of(context, config, **flags))
        processes.serve(started, source, output, lambda: output.line(ready_text(started)), interrupt)


def ready_text(started: "Started") -> str:
    """Return the addresses of the server, and commands to try next."""
    from app.server import startup

    settings = started.settings
    host, local = settings.server.host, settings.engine.local
    scheme = "https" if settings.server.security.secure else "http"
    web = f"{scheme}://{_address(host, settings.server.http_port)}"
    shared = settings.server.http == "zttp"
    lines = [f"{'console':15}{web}/console"] if settings.console.enabled else []
    lines += [
        f"{'REST and gRPC' if shared else 'REST':15}{web}  (documentation at {web}/docs)",
        f"{'gRPC alone' if shared else 'gRPC':15}{_address(host, settings.server.grpc.port)}",
        f"{'metrics':15}http://{_address(host, settings.flyteadmin.profiler_port)}/metrics",
    ]
    if started.assistants:
        lines += [
            f"{'MCP':15}{scheme}://{_address(host, settings.mcp.port)}/mcp",
            f"{'REST adapter':15}{scheme}://{_address(host, settings.mcp.adapter_port)}/v1/api/v1/executions",
        ]
    lines += [
        f"{'database':15}{startup.shown(settings.database_url)}",
        f"{'data':15}{settings.storage_url}",
        f"{'engine':15}{settings.engine.kind}",
    ]
    if settings.server.security.secure:
        lines.append(f"{'certificate':15}{settings.server.security.ssl.certificate_file}")
    waiting = settings.engine.kind == "local" and not local.environment and not settings.environment_path.exists()
    heading = f"Try next{', after `task environment: ready`' if waiting else ''}:"
    body = "\n".join(f"  {line}" for line in lines)
    commands = "\n".join(f"  {line}" for line in _first_commands(settings, web))
    if settings.server.security.use_auth:
        commands += (
            f"\n\nTOKEN holds a bearer token, such as one of `{program()} auth token create NAME --subject USER_ID`"
        )
    clients = "".join(f"\n  {line}" for line in _tls_clients(settings))
    clients = clients and f"\n\nClients trust this server by its authority, as in:{clients}"
    return f"\nflyteadmin is ready\n{body}{clients}\n\n{heading}\n{commands}\n"


def _tls_clients(settings: "Settings") -> tuple[str, ...]:
    """Return a line for each client that must trust the local authority; none for another certificate."""
    from app.server import local_authority

    security = settings.server.security
    if not (security.secure and security.ssl.local_authority):
        return ()
    config, authority = settings.home_path / "config.yaml", local_authority.files_of(settings).authority
    address = _address(settings.server.host, settings.server.http_port)
    return (
        f"pyflyte --config {config} get launchplan -p flytesnacks -d development",
        f"SSL_CERT_FILE={authority} flytectl --config {config} get project",
        f"curl --cacert {authority}{_token(settings)} https://{address}/api/v1/projects",
        f"grpcurl -cacert {authority} {address} "
        + ("list" if settings.server.security.use_auth else "flyteidl.service.AdminService/ListProjects"),
    )


def _first_commands(settings: "Settings", web: str) -> tuple[str, ...]:
    from app.server import local_authority
    from app.server.startup import FIRST_PROJECT

    pyflyte = settings.environment_path / "bin" / "pyflyte" if settings.engine.kind == "local" else "pyflyte"
    example = Path(__file__).parents[2] / "examples" / "hello.py"
    if example.is_relative_to(Path.cwd()):
        example = example.relative_to(Path.cwd())
    security = settings.server.security
    local = security.secure and security.ssl.local_authority
    curl = f"curl --cacert {local_authority.files_of(settings).authority}" if local else "curl"
    curl += _token(settings)
    client = f"{pyflyte} --config {settings.home_path / 'config.yaml'}"
    return (
        *((f"{_program(settings)} hello",) if settings.engine.kind == "local" else ()),
        f"{client} run --remote -p {FIRST_PROJECT} -d development {example} main --x 3",
        f"{curl} {web}/api/v1/executions/{FIRST_PROJECT}/development/<name>",
        f"{curl} {web}/api/v1/data/executions/{FIRST_PROJECT}/development/<name>",
    )


def _program(settings: "Settings") -> str:
    """Return this program, with the variable of its home where that is not the default one."""
    default = Path("~/.flyteadmin").expanduser()
    return program() if settings.home_path == default else f"FLYTEADMIN_HOME={settings.home_path} {program()}"


def _token(settings: "Settings") -> str:
    """Return the option of curl for a bearer token; "" without authentication."""
    # The output masks the value of a header `Authorization`.
    return ' --oauth2-bearer "$TOKEN"' if settings.server.security.use_auth else ""


def address_warning(settings: "Settings") -> str:
    """Return a warning where sign-in names another address of this machine than the one served; "" otherwise.

    Clients read the address of the token endpoint from the server, and find no server there.
    """
    from urllib.parse import urlsplit

    from app.settings.hosts import DEFAULT_PORTS, is_loopback

    uris = [urlsplit(uri) for uri in settings.auth.authorized_uris]
    scheme = "https" if settings.server.security.secure else "http"
    served = (scheme, settings.server.http_port)
    if not settings.server.security.use_auth or not uris or not all(is_loopback(uri.hostname or "") for uri in uris):
        return ""
    if any((uri.scheme, uri.port or DEFAULT_PORTS.get(uri.scheme)) == served for uri in uris):
        return ""
    return (
        f"auth.authorizedUris names {uris[0].geturl()}, where clients look for sign-in, "
        f"and this server is {scheme}://localhost:{served[1]}"
    )


def _address(host: str, port: int) -> str:
    """Return host:port as a client on this machine writes it."""
    if host in ("127.0.0.1", "0.0.0.0", "::1", "::"):  # nosec # compared, not bound
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

"""Names of executions on the command line, and the options that all commands of this package share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote

import typer

from app.cli.program import program

if TYPE_CHECKING:
    from app.cli.client import RestClient

PROJECT, DOMAIN = "flytesnacks", "development"
# Projects that a refusal names.
NAMED_MAX = 20

_URL = re.compile(r"https?://.*/projects/([^/?#]+)/domains/([^/?#]+)/executions/([^/?#]+)")

Execution = Annotated[
    str,
    typer.Argument(metavar="EXECUTION", help="Its name, PROJECT/DOMAIN/NAME, or its address in a console."),
]
Project = Annotated[
    str,
    typer.Option(
        "--project",
        "-p",
        metavar="ID",
        show_default=f"that of pyflyte's configuration, else {PROJECT}",
        help="Project.",
    ),
]
Domain = Annotated[
    str,
    typer.Option(
        "--domain", "-d", metavar="ID", show_default=f"that of pyflyte's configuration, else {DOMAIN}", help="Domain."
    ),
]


@dataclass(frozen=True, slots=True)
class ExecutionAddress:
    """The id of an execution.

    Attributes:
        project: The project.
        domain: The domain.
        name: The name.
    """

    project: str
    domain: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}/{self.domain}/{self.name}"

    @property
    def parts(self) -> tuple[str, str, str]:
        """Return project, domain and name."""
        return self.project, self.domain, self.name

    @property
    def id(self) -> dict[str, str]:
        """Return the id as JSON of the API."""
        return {"project": self.project, "domain": self.domain, "name": self.name}

    def shown(self, client: RestClient) -> str:
        """Return the shortest text that names the execution on a command line."""
        project, domain = place_of(client, "", "")
        return self.name if (self.project, self.domain) == (project, domain) else str(self)

    def console(self, client: RestClient) -> str:
        """Return the address of the execution in the console."""
        project, domain, name = (quote(part, safe="") for part in self.parts)
        return f"{client.url}/console/projects/{project}/domains/{domain}/executions/{name}"


def place_of(client: RestClient, project: str, domain: str) -> tuple[str, str]:
    """Return project and domain of a command: the options, else those of the configuration, else the first ones."""
    connection = client.connection
    return project or connection.project or PROJECT, domain or connection.domain or DOMAIN


def check_place(client: RestClient, project: str, domain: str) -> None:
    """Check project and domain of a list that is empty, where this caller may list projects.

    Raises:
        BadSetting: The server has no such project or domain, or this caller may not see it.
    """
    from app.cli.calls import path_of
    from app.cli.client import CallRefused
    from app.settings import BadSetting

    try:
        found = client.get(path_of("projects"), filters=f"eq(identifier,{project})", limit="1").get("projects")
    except CallRefused:
        return
    if not found:
        page = client.get(path_of("projects"), limit=str(NAMED_MAX))
        known = [str(one["id"]) for one in page.get("projects") or ()] + (["…"] if page.get("token") else [])
        raise BadSetting(f"the project {project} is unknown; there are {', '.join(known) or 'none'}")
    domains = [str(one["id"]) for one in found[0].get("domains") or []]
    if domain not in domains:
        raise BadSetting(f"the domain {domain} of {project} is unknown; there are {', '.join(domains)}")


def execution_of(client: RestClient, text: str, project: str, domain: str) -> ExecutionAddress:
    """Return the id of an execution that the command line names.

    Raises:
        BadSetting: The text is none of the three forms.
    """
    from app.settings import BadSetting

    if found := _URL.match(text):
        return ExecutionAddress(*(unquote(part) for part in found.groups()))
    parts = text.split("/")
    if len(parts) == 1 and text:
        return ExecutionAddress(*place_of(client, project, domain), text)
    if len(parts) == 3 and all(parts):
        return ExecutionAddress(*parts)
    raise BadSetting(
        f"{text!r} names no execution; give a name, PROJECT/DOMAIN/NAME or an address of a console, "
        f"and see the latest ones with `{program()} get`"
    )


def listed_place(client: RestClient, text: str, project: str, domain: str, *, what: str) -> str:
    """Return PROJECT/DOMAIN or PROJECT/DOMAIN/NAME, of which a command lists something.

    Args:
        client: The connection to the server.
        text: The argument of the command.
        project: The option for the project.
        domain: The option for the domain.
        what: The word for the name.

    Raises:
        BadSetting: The text has another form.
    """
    from app.settings import BadSetting

    parts = text.split("/") if text else []
    if not all(parts) or len(parts) > 3:
        raise BadSetting(f"{text!r} is no place; give nothing, {what} or PROJECT/DOMAIN[/{what}]")
    return text if len(parts) > 1 else "/".join((*place_of(client, project, domain), *parts))


def plan_of(client: RestClient, text: str, project: str, domain: str) -> str:
    """Return a launch plan that the command line names, as PROJECT/DOMAIN/NAME, with its version where it is given.

    Raises:
        BadSetting: The text is neither NAME[/VERSION] nor PROJECT/DOMAIN/NAME[/VERSION].
    """
    from app.settings import BadSetting

    parts = text.split("/")
    if all(parts) and len(parts) in (1, 2):
        return "/".join((*place_of(client, project, domain), *parts))
    if all(parts) and len(parts) in (3, 4):
        return text
    raise BadSetting(f"{text!r} names no launch plan; give NAME, NAME/VERSION or PROJECT/DOMAIN/NAME[/VERSION]")

"""Clients that openapi-generator makes of the served documents compile, and read names of several words from answers.

Needs java and mvn, npm and go, and the registries of each; run with `make test-clients`. What is generated lies in
temporary folders; the generator and its dependencies stay in the caches of mvn, npm and go.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from tests.support.servers import Running, serving

pytestmark = pytest.mark.campaign

GENERATOR = "org.openapitools:openapi-generator-cli:7.10.0"
PROGRAMS = Path(__file__).parent / "programs"
# Enumerations of Go are constants of the package, so that generators need a prefix for names that come twice.
OPTIONS = {"go": ("-p", "enumClassPrefix=true", "--git-user-id", "example", "--git-repo-id", "flyte")}
# What generated code is called by upstream's operation ids and by the kinds of bodies of Swagger 2.
BY_SWAGGER = {
    "typescript-fetch": {
        "{ basePath: process.argv[2] }": "{ basePath: process.argv[2], headers: { Accept: 'application/json' } }",
        "DataProxyApi, ProjectsApi, VersionApi": "AdminServiceApi, DataProxyServiceApi",
        "ProjectsApi(configuration).listProjects": "AdminServiceApi(configuration).adminServiceListProjects",
        "VersionApi(configuration).getVersion": "AdminServiceApi(configuration).adminServiceGetVersion",
        "DataProxyApi(configuration).create": "DataProxyServiceApi(configuration).dataProxyServiceCreate",
        "serviceCreateUploadLocationRequest:": "body:",
    },
    "go": {
        "ProjectsAPI.ListProjects": "AdminServiceAPI.AdminServiceListProjects",
        "VersionAPI.GetVersion": "AdminServiceAPI.AdminServiceGetVersion",
        "DataProxyAPI.Create": "DataProxyServiceAPI.DataProxyServiceCreate",
        ".ServiceCreateUploadLocationRequest(*request)": ".Body(*request)",
    },
    "java": {
        "api.ProjectsApi;": "api.AdminServiceApi;",
        "import org.openapitools.client.api.VersionApi;\n": "",
        "api.DataProxyApi;": "api.DataProxyServiceApi;",
        "ProjectsApi(client).list": "AdminServiceApi(client).adminServiceList",
        "VersionApi(client).get": "AdminServiceApi(client).adminServiceGet",
        "DataProxyApi(client).create": "DataProxyServiceApi(client).dataProxyServiceCreate",
    },
}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator's jar, from the repository that mvn is configured with."""
    for tool in ("java", "mvn", "npm", "go"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on the PATH")
    folder = tmp_path_factory.mktemp("generator")
    run("mvn", "-q", "-B", "dependency:copy", f"-Dartifact={GENERATOR}", f"-DoutputDirectory={folder}", cwd=folder)
    return next(folder.glob("*.jar"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


def use_typescript(client: Path, program: str, address: str) -> str:
    (client / "use.ts").write_text(program, encoding="utf-8")
    (client / "package.json").write_text(json.dumps({"name": "use", "private": True}), encoding="utf-8")
    run("npm", "install", "--no-audit", "--no-fund", "typescript@5", "@types/node@20", cwd=client)
    options = ("--strict", "--skipLibCheck", "--target", "es2020", "--module", "commonjs", "--lib", "es2020,dom")
    run("node_modules/.bin/tsc", *options, "--outDir", "built", "use.ts", cwd=client)
    return run("node", "built/use.js", address, cwd=client)


def use_go(client: Path, program: str, address: str) -> str:
    # The generator's own tests need a library and a server.
    shutil.rmtree(client / "test")
    (client / "use").mkdir()
    (client / "use" / "main.go").write_text(program, encoding="utf-8")
    run("go", "mod", "tidy", cwd=client)
    return run("go", "run", "./use", address, cwd=client)


def use_java(client: Path, program: str, address: str) -> str:
    (client / "src" / "main" / "java" / "Use.java").write_text(program, encoding="utf-8")
    run("mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath", cwd=client)
    libraries = (client / "classpath").read_text(encoding="utf-8").strip()
    return run(
        "java", "-cp", os.pathsep.join((str(client / "target" / "classes"), libraries)), "Use", address, cwd=client
    )


LANGUAGES: dict[str, tuple[str, Callable[[Path, str, str], str]]] = {
    "typescript-fetch": ("use.ts", use_typescript),
    "go": ("use.go", use_go),
    "java": ("Use.java", use_java),
}


@pytest.mark.parametrize("document", ["openapi.json", "api/v1/openapi"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_generated_client(generator: Path, server: Running, tmp_path: Path, language: str, document: str) -> None:
    described = tmp_path / "document.json"
    described.write_bytes(httpx.get(f"{server.web}/{document}").content)
    client = tmp_path / "client"
    generate = ("java", "-jar", str(generator), "generate", "-i", str(described), "-g", language, "-o", str(client))
    run(*generate, *OPTIONS.get(language, ()), cwd=tmp_path)
    name, use = LANGUAGES[language]
    program = (PROGRAMS / name).read_text(encoding="utf-8")
    if document == "api/v1/openapi":
        for ours, upstreams in BY_SWAGGER[language].items():
            assert ours in program
            program = program.replace(ours, upstreams)
    projects, version, native_url = use(client, program, server.web).splitlines()
    assert "flytesnacks" in projects
    assert version == f"v{metadata.version('flyteadmin')}"
    assert native_url.endswith("/root/f")

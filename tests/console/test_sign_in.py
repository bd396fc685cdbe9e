"""The console of a server with authentication: sign-in, the end of a session, drafts, roles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Faults, skip_without_chromium, tab
from tests.support.servers import serving
from tests.support.sign_in import configuration, free_port

# Libraries of the provider warn of their own future.
pytestmark = [pytest.mark.campaign, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SCOPE = "/console/projects/flytesnacks/domains/development"
TASK = {"resource_type": "TASK", "project": "flytesnacks", "domain": "development", "name": "typed", "version": "v1"}
LAUNCH = {"project": "flytesnacks", "domain": "development", "spec": {"launch_plan": TASK}}
WORDS = "a sentence that nobody wants to type twice"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server where alice may do everything and bob may view."""
    skip_without_chromium()
    folder = tmp_path_factory.mktemp("sign-in")
    port = free_port()
    url = f"http://localhost:{port}"
    people = [
        oidc_provider_mock.User(sub=name, claims={"email": f"{name}@example.com", "email_verified": True, "name": name})
        for name in ("alice", "bob")
    ]
    roles = {
        "enabled": True,
        "admins": ["alice@example.com"],
        "bindings": [{"role": "view", "subjects": ["bob@example.com"]}],
    }
    with oidc_provider_mock.run_server_in_thread(user_claims=people, require_nonce=True) as provider:
        issuer = f"http://localhost:{provider.server_port}"
        path = configuration(
            folder / "server",
            url,
            issuer,
            client_secret="secret",
            scopes=("openid", "email", "profile"),
            auth={"roles": roles},
        )
        with serving(folder / "home", "--config", str(path), "--port", str(port)):
            yield url


@pytest.fixture
def visitor(browser: Browser, server: str) -> Iterator[Page]:
    """A page of somebody who has no session."""
    with tab(browser, base_url=server, viewport={"width": 1440, "height": 900}) as page:
        yield page


def sign_in(page: Page, name: str) -> None:
    page.fill("[name=sub]", name)
    page.click("[type=submit]")


def call(page: Page, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Send a request with the cookies of the page."""
    options = {"method": method, "headers": {"content-type": "application/json", "accept": "application/json"}}
    script = "([path, options]) => fetch(path, options).then(async r => [r.status, await r.json()])"
    status, reply = page.evaluate(script, [path, {**options, "body": json.dumps(body)}])
    return status, reply


def register(page: Page) -> None:
    """Register a task with a text as input."""
    variables = {"variables": {"words": {"type": {"simple": "STRING"}}}}
    template = {
        "id": TASK,
        "type": "python-task",
        "metadata": {"runtime": {"type": "FLYTE_SDK", "version": "1", "flavor": "python"}},
        "interface": {"inputs": variables, "outputs": {"variables": {}}},
        "container": {"image": "none", "args": ["run"]},
    }
    status, reply = call(page, "POST", "/api/v1/tasks", {"id": TASK, "spec": {"template": template}})
    assert status in (200, 409), reply


def test_a_link_leads_through_the_sign_in_and_back(visitor: Page, server: str) -> None:
    visitor.goto(f"{SCOPE}/workflows?q=x")
    sign_in(visitor, "alice")
    visitor.wait_for_url(f"{server}{SCOPE}/workflows?q=x")
    expect(visitor.locator("h1")).to_contain_text("Workflows")
    expect(visitor.get_by_role("button", name="alice")).to_be_visible()


def test_a_draft_survives_the_end_of_the_session(visitor: Page, server: str) -> None:
    visitor.goto(f"{SCOPE}/executions")
    sign_in(visitor, "alice")
    visitor.wait_for_url(f"{server}{SCOPE}/executions")
    register(visitor)
    launch = f"{SCOPE}/tasks/typed/launch"
    visitor.goto(launch)
    visitor.get_by_label("words").fill(WORDS)
    visitor.context.clear_cookies(name="flyte_session")
    visitor.get_by_role("button", name="Launch", exact=True).click()
    # The provider still has its own session or asks again.
    visitor.wait_for_timeout(1000)
    if visitor.locator("[name=sub]").count():
        sign_in(visitor, "alice")
    visitor.wait_for_url(f"{server}{launch}*")
    expect(visitor.get_by_label("words")).to_have_value(WORDS)


def test_a_poll_without_session_shows_a_banner_and_does_not_leave_the_page(visitor: Page, server: str) -> None:
    faults = Faults(visitor.context)
    visitor.goto(f"{SCOPE}/executions")
    sign_in(visitor, "alice")
    visitor.wait_for_url(f"{server}{SCOPE}/executions")
    expect(visitor.locator("h1")).to_contain_text("Executions")
    visitor.context.clear_cookies(name="flyte_session")
    expect(visitor.get_by_text("Session ended").or_(visitor.get_by_text("session has ended")).first).to_be_visible(
        timeout=40_000
    )
    refused = len([one for one in faults.found if one.startswith("401")])
    visitor.wait_for_timeout(8000)
    assert visitor.url == f"{server}{SCOPE}/executions"
    assert len([one for one in faults.found if one.startswith("401")]) - refused <= 1, "401 is not asked for again"


def test_a_refusal_of_a_role_names_the_role(browser: Browser, visitor: Page, server: str) -> None:
    with tab(browser, base_url=server) as admin:
        admin.goto(f"{SCOPE}/executions")
        sign_in(admin, "alice")
        admin.wait_for_url(f"{server}{SCOPE}/executions")
        register(admin)
    visitor.goto(f"{SCOPE}/tasks/typed/launch")
    sign_in(visitor, "bob")
    visitor.wait_for_url(f"{server}{SCOPE}/tasks/typed/launch*")
    visitor.get_by_label("words").fill(WORDS)
    # Forbidden before it is tried, with the reason.
    button = visitor.get_by_role("button", name="Launch", exact=True)
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description(re.compile(r"\brun\b"))
    status, reply = call(visitor, "POST", "/api/v1/executions", LAUNCH)
    assert status == 403, reply
    # What was typed stays.
    expect(visitor.get_by_label("words")).to_have_value(WORDS)


def test_what_a_role_forbids_is_disabled_before_it_is_tried(visitor: Page, server: str) -> None:
    visitor.goto(f"{SCOPE}/tasks/typed")
    sign_in(visitor, "bob")
    visitor.wait_for_url(f"{server}{SCOPE}/tasks/typed")
    expect(visitor.get_by_role("button", name="Launch", exact=True)).to_have_attribute("aria-disabled", "true")
    visitor.get_by_role("button", name="More about typed").click()
    archive = visitor.get_by_role("menuitem", name="Archive")
    expect(archive).to_have_attribute("title", re.compile('role "register"'))
    visitor.goto("/console/select-project")
    create = visitor.get_by_role("button", name="New project")
    expect(create).to_have_attribute("title", re.compile('role "admin" in all projects'))


def test_signing_out_ends_the_session(visitor: Page, server: str) -> None:
    visitor.goto(f"{SCOPE}/executions")
    sign_in(visitor, "alice")
    visitor.wait_for_url(f"{server}{SCOPE}/executions")
    visitor.get_by_role("button", name="alice").click()
    visitor.get_by_text("Sign out").first.click()
    visitor.wait_for_timeout(2000)
    assert "flyte_session" not in {one["name"] for one in visitor.context.cookies()}

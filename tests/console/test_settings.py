"""Settings of a project: its name and labels, its state, and overrides of every level."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import both_themes, both_widths, check_accessible, check_no_sideways_scrolling, open_page
from tests.console.world import DOMAIN, MARKUP, PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

PAGE = f"{SCOPE}/settings"


def test_project_is_edited(page: Page, world: World) -> None:
    """Description and labels are stored; markup in them is text."""
    open_page(page, PAGE)
    page.get_by_role("region", name="Project").get_by_role("button", name="Edit").click()
    page.get_by_label("Description").fill(MARKUP)
    page.get_by_role("button", name="Add to Labels").click()
    page.get_by_label("Key 1 of Labels").fill("team")
    page.get_by_label("Value 1 of Labels").fill("vision")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("team=vision")).to_be_visible()
    found = world.remote.call("GET", f"/projects/{PROJECT}")
    assert (found["description"], found["labels"]["values"]) == (MARKUP, {"team": "vision"})
    expect(page.get_by_text(MARKUP)).to_be_visible()


@pytest.mark.parametrize(
    ("kind", "label", "text", "stored"),
    [
        ("WORKFLOW_EXECUTION_CONFIG", "Max parallelism", "9", {"max_parallelism": 9}),
        ("TASK_RESOURCE", "Default: cpu", "500m", {"defaults": {"cpu": "500m"}}),
        ("EXECUTION_QUEUE", "Tags", "gpu, fast", {"tags": ["gpu", "fast"]}),
        ("EXECUTION_CLUSTER_LABEL", "Label", "gpu", {"value": "gpu"}),
        ("CLUSTER_ASSIGNMENT", "Cluster pool", "p1", {"cluster_pool_name": "p1"}),
    ],
)
def test_overrides_are_set_and_deleted(
    page: Page, world: World, kind: str, label: str, text: str, stored: dict[str, object]
) -> None:
    """An override of the domain is written, shown, read back, and deleted."""
    open_page(page, f"{PAGE}?type={kind}")
    page.get_by_role("button", name=f"Set for domain {DOMAIN}").click()
    page.get_by_role("dialog").get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Save").click()
    delete = page.get_by_role("button", name=f"Delete domain {DOMAIN}")
    expect(delete).to_be_visible()
    assert _holds(_configurations(world, kind), stored)
    delete.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nothing is overridden.")).to_be_visible()
    assert _configurations(world, kind) == []


def _configurations(world: World, kind: str) -> list[object]:
    found = world.remote.call("GET", f"/matchable_attributes?resource_type={kind}")["configurations"]
    return [next(iter(one["attributes"].values())) for one in found]


def _holds(found: list[object], part: object) -> bool:
    """Return whether one of the values has all members of `part`."""

    def has(value: object, wanted: object) -> bool:
        if isinstance(wanted, dict) and isinstance(value, dict):
            return all(has(value.get(key), member) for key, member in wanted.items())
        return value == wanted

    return any(has(value, part) for value in found)


def test_override_of_one_workflow(page: Page, world: World) -> None:
    """A workflow is chosen by search; its override holds for it alone."""
    open_page(page, f"{PAGE}?type=CLUSTER_RESOURCE")
    picker = page.get_by_role("combobox", name="Set for one workflow")
    picker.press_sequentially("every_type")
    page.get_by_role("option", name="shown.every_type").click()
    page.get_by_role("button", name="Set for shown.every_type").click()
    page.get_by_role("button", name="Add to Attributes").click()
    page.get_by_label("Key 1 of Attributes").fill("quota")
    page.get_by_label("Value 1 of Attributes").fill("4")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("quota=4")).to_be_visible()
    path = f"/workflow_attributes/{PROJECT}/{DOMAIN}/shown.every_type?resource_type=CLUSTER_RESOURCE"
    found = world.remote.call("GET", path)
    assert found["attributes"]["matching_attributes"] == {"cluster_resource_attributes": {"attributes": {"quota": "4"}}}


@both_themes
@both_widths
def test_settings_are_accessible(page: Page, world: World) -> None:
    """The page and the dialog of an override pass axe, and the page does not scroll sideways."""
    open_page(page, PAGE)
    expect(page.get_by_role("region", name="Project")).to_be_visible()
    check_no_sideways_scrolling(page)
    check_accessible(page)
    page.get_by_role("button", name=f"Set for domain {DOMAIN}").click()
    check_accessible(page)


def test_a_project_is_registered_archived_and_restored(page: Page, world: World, faults: Faults) -> None:
    faults.allow("^400 POST .*/projects$")
    open_page(page, "/console/select-project")
    page.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id").fill("Not An Id")
    dialog.get_by_role("button", name="Register").click()
    expect(dialog.get_by_role("alert").first).to_be_visible()
    name = f"made-{len(world.remote.call('GET', '/projects?limit=100')['projects'])}"
    dialog.get_by_label("Id").fill(name)
    dialog.get_by_label("Name").fill("Made here")
    dialog.get_by_role("button", name="Register").click()
    expect(page.get_by_role("row", name="Made here")).to_be_visible()
    assert world.remote.call("GET", f"/projects/{name}")["name"] == "Made here"
    open_page(page, f"/console/projects/{name}/domains/{DOMAIN}/settings")
    card = page.get_by_role("region", name="Project")
    for word, state in (("Archive", "ARCHIVED"), ("Restore", "ACTIVE")):
        card.get_by_role("button", name=word).click()
        page.get_by_role("dialog").get_by_role("button", name=word).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert world.remote.call("GET", f"/projects/{name}")["state"] == state
    expect(card.get_by_role("button", name="Archive")).to_be_visible()

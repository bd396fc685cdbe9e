"""The page of an execution: failures, the tree, the panel of a node, maps, branches, gates, children, the address."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import (
    both_themes,
    both_widths,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign


@both_themes
@both_widths
def test_a_failed_execution_opens_at_its_cause(world: World, page: Page) -> None:
    open_page(page, world.execution("failing"))
    expect(page.locator(".problem")).to_contain_text("the shape of the data is wrong")
    expect(page.get_by_role("tab", name="Log")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".log-lines")).to_contain_text("ValueError: the shape of the data is wrong")
    check_accessible(page)
    check_no_sideways_scrolling(page)


@both_themes
@both_widths
def test_an_unknown_image_is_named_beside_the_cause(world: World, page: Page) -> None:
    """The task ran in the default environment, which is why it found no module: the cause and the panel say so."""
    open_page(page, world.execution("own_image"))
    problem = page.locator(".problem")
    expect(problem).to_contain_text("Module 'torch' is missing in")
    # The end of the sentence: a list of nodes has its first 100 bytes only.
    expect(problem).to_contain_text("pyflyte run or register with --copy all.")
    notice = "image [registry.example/team/own:1] maps to no environment of this server"
    expect(problem).to_contain_text(notice)
    expect(page.get_by_label("Node needs_own_image").locator(".notice")).to_contain_text(notice)
    check_accessible(page)
    check_no_sideways_scrolling(page)


def test_the_address_names_node_panel_and_attempt(world: World, page: Page) -> None:
    open_page(page, world.execution("failing_for_now"))
    page.get_by_role("tab", name="Error").click()
    expect(page).to_have_url(re.compile("node=n0.*panel=error"))
    page.get_by_role("button", name="1", exact=True).click()
    expect(page).to_have_url(re.compile("attempt=1"))
    page.reload()
    expect(page.get_by_role("tab", name="Error")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("button", name="1", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("tab", name="Graph").click()
    expect(page.get_by_role("application")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("treegrid", name="Nodes of the execution")).to_be_visible()


def test_an_address_of_flyteconsole_opens_the_panel(world: World, page: Page) -> None:
    open_page(page, world.execution("failing") + "/nodeId/n0/taskId/graphs.fail/attempt/0/view/logs")
    expect(page).to_have_url(re.compile(r"/executions/[^/]+\?node=n0&attempt=1&panel=log$"))
    expect(page.locator(".log-lines")).to_contain_text("ValueError")


def test_the_tree_is_used_by_keys_alone(world: World, page: Page) -> None:
    open_page(page, world.execution("nested"))
    tree = page.get_by_role("treegrid", name="Nodes of the execution")
    tree.focus()
    page.keyboard.press("Home")
    before = tree.get_by_role("row").count()
    for _ in range(before):
        if page.locator(".tree-row.selected[aria-expanded=false]").count():
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tree-row.selected")).to_have_attribute("aria-expanded", "true")
    expect(tree.locator("[aria-level='2']").first).to_be_visible()
    page.keyboard.press("o")
    expect(page.get_by_role("tab", name="Outputs", exact=True)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tree-row.selected")).to_have_attribute("aria-expanded", "false")


def test_a_branch_says_which_arm_ran(world: World, page: Page) -> None:
    open_page(page, world.execution("choices 50") + "?node=n0")
    expect(page.locator(".arm.ran")).to_have_count(1)
    expect(page.locator(".arm.ran")).to_contain_text("x > 10 and x ≤ 100")
    expect(page.locator(".panel")).to_contain_text("50")


def test_a_map_lists_its_failed_indices_with_their_errors(world: World, page: Page) -> None:
    open_page(page, world.execution("some_fail"))
    page.locator(".tree-row", has_text="map").first.click()
    indices = page.get_by_role("treegrid", name=re.compile("^Indices of"))
    expect(indices.locator(".tree-row").first).to_contain_text("Failed")
    expect(indices.locator(".tree-row .index-error").first).to_contain_text("Error")
    indices.locator(".tree-row").first.click()
    expect(page).to_have_url(re.compile("index="))
    expect(page.locator(".index-log .log-lines")).to_contain_text("Error")


def test_children_of_plans_dynamics_and_eager_tasks_open_in_place(world: World, page: Page) -> None:
    for scenario in ("parent", "dynamic_summed", "eager"):
        open_page(page, world.execution(scenario))
        fold = page.get_by_role("button", name=re.compile("^Unfold .")).first
        fold.click()
        expect(page.locator(".tree-row[aria-level='2']").first).to_be_visible()


def test_a_gate_is_answered_in_place(world: World, page: Page) -> None:
    name = world.remote.launch("gated", {"x": 1})
    world.remote.signals(name, 2)
    world.names["answered"] = name
    open_page(page, world.execution("answered"))
    page.locator(".tree-row", has_text="fine").click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".panel")).to_contain_text("Succeeded")
    signals = world.remote.call("GET", f"/signals/flytesnacks/development/{name}?limit=10")["signals"]
    assert [one["value"]["scalar"]["primitive"] for one in signals if one["id"]["signal_id"] == "fine"] == [
        {"boolean": True}
    ]


def test_a_running_execution_ends_on_the_page_without_reload(world: World, page: Page) -> None:
    world.launch("watched", "shown.talking", {"lines": 30, "seconds": 0.2})
    open_page(page, world.execution("watched"))
    expect(page.locator(".execution-head .phase").first).to_contain_text("Succeeded", timeout=60_000)
    expect(page.locator(".tree-row .phase.phase-succeeded").first).to_be_visible()


@both_themes
def test_hostile_text_stays_text(world: World, page: Page) -> None:
    open_page(page, world.execution("hostile_failure"))
    expect(page.locator(".problem")).to_be_visible()
    check_not_attacked(page)
    page.get_by_role("tab", name="Error").click()
    check_not_attacked(page)
    open_page(page, world.execution("long_nap") + "?node=n0")
    expect(page.locator(".log-links")).to_contain_text("elsewhere")
    check_not_attacked(page)
    check_accessible(page)


@both_themes
@both_widths
@pytest.mark.parametrize("scenario", ["nested?tab=graph", "every_type?tab=io", "every_type?tab=spec", "gated?node=n1"])
def test_every_view_is_accessible(world: World, page: Page, scenario: str) -> None:
    name, _, query = scenario.partition("?")
    open_page(page, f"{world.execution(name)}?{query}")
    check_accessible(page)
    check_no_sideways_scrolling(page)


def test_an_execution_that_does_not_exist_is_named(world: World, page: Page, faults: Faults) -> None:
    faults.allow("404")
    page.goto("/console/projects/flytesnacks/domains/development/executions/is-not-there")
    expect(page.get_by_role("heading", name="There is no execution is-not-there")).to_be_visible()


def test_values_of_gates_are_typed_and_approvals_refused(world: World, page: Page) -> None:
    """A value of the wrong type is not sent; a rejection fails the node."""
    name = world.launch("typed gate", "gated", {"x": 1})
    world.remote.signals(name, 2)
    open_page(page, world.execution("typed gate"))
    page.locator(".tree-row", has_text="number").click()
    panel = page.locator(".panel")
    panel.get_by_role("textbox", name="number").fill("many")
    panel.get_by_role("button", name="Send and go on").click()
    expect(panel.get_by_text("An integer, such as 42, is needed")).to_be_visible()
    panel.get_by_role("textbox", name="number").fill("9007199254740993")
    panel.get_by_role("button", name="Send and go on").click()
    expect(panel).to_contain_text("Succeeded")
    signals = world.remote.call("GET", f"/signals/flytesnacks/development/{name}?limit=10")["signals"]
    [value] = [one["value"] for one in signals if one["id"]["signal_id"] == "number"]
    assert value["scalar"]["primitive"] == {"integer": "9007199254740993"}
    page.locator(".tree-row", has_text="fine").click()
    panel.get_by_role("button", name="Reject").click()
    world.remote.until(lambda: world.remote.execution(name)["closure"]["phase"] == "FAILED", "it failed")
    expect(page.locator(".execution-head .phase").first).to_contain_text("Failed", timeout=30_000)

"""The launch form: every literal type, defaults, refusals at their field, drafts, copies, uploads."""

from __future__ import annotations

import json
import subprocess
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import both_themes, both_widths, check_accessible, check_no_sideways_scrolling, open_page
from tests.console.world import DOMAIN, PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

FORM = f"{SCOPE}/workflows/shown.every_type/launch"
INT64_MAX = 9223372036854775807


def launched(page: Page, world: World) -> dict[str, Any]:
    """Press Launch, wait for the execution's page, and return the inputs that the server has."""
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(f"**{SCOPE}/executions/*")
    name = page.url.split("?")[0].rsplit("/", 1)[1]
    return inputs_of(world, name)


def inputs_of(world: World, name: str) -> dict[str, Any]:
    return world.remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_inputs"]["literals"]


def open_form(page: Page, path: str = FORM) -> None:
    open_page(page, path)
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_visible()


def test_defaults_launch_as_they_are(page: Page, world: World) -> None:
    """A form that nobody touched launches with the defaults of the launch plan, down to 64-bit integers."""
    open_form(page)
    expect(page.get_by_label("integer", exact=True)).to_have_value("9007199254740993")
    assert launched(page, world) == inputs_of(world, world.names["every_type"])


def test_every_type_is_sent_as_typed(page: Page, world: World) -> None:
    """Each control writes a literal of its type."""
    open_form(page)
    page.get_by_label("integer", exact=True).fill(str(-INT64_MAX - 1))
    page.get_by_label("number", exact=True).fill("1e3")
    page.get_by_role("textbox", name="text", exact=True).fill("<b>two\nlines</b>")
    page.get_by_role("group", name="flag", exact=True).get_by_label("false").check()
    page.get_by_role("textbox", name="when", exact=True).fill("2026-07-02 12:30")
    page.get_by_label("how_long", exact=True).fill("1h 2m 0.5s")
    page.get_by_label("size", exact=True).select_option("small")
    page.get_by_label("Type of maybe").select_option("0")
    page.get_by_role("textbox", name="maybe", exact=True).fill("5")
    page.get_by_label("Type of either").select_option(label="int")
    page.get_by_role("textbox", name="either", exact=True).fill("8")
    page.get_by_role("button", name="Edit by_name as JSON").first.click()
    page.get_by_label("by_name", exact=True).first.fill('{"k": 2}')
    page.get_by_label("anything", exact=True).fill(f'{{"big": {INT64_MAX}, "float": 1.0}}')
    found = {name: literal["scalar"] for name, literal in launched(page, world).items() if "scalar" in literal}
    assert found["integer"] == {"primitive": {"integer": str(-INT64_MAX - 1)}}
    assert found["number"] == {"primitive": {"float_value": 1000}}
    assert found["text"] == {"primitive": {"string_value": "<b>two\nlines</b>"}}
    assert found["flag"] == {"primitive": {"boolean": False}}
    assert found["when"] == {"primitive": {"datetime": "2026-07-02T10:30:00Z"}}, "typed in Berlin's time"
    assert found["how_long"] == {"primitive": {"duration": "3720.500s"}}
    assert found["size"] == {"primitive": {"string_value": "small"}}
    assert found["maybe"]["union"]["value"]["scalar"] == {"primitive": {"integer": "5"}}
    assert found["either"]["union"]["value"]["scalar"] == {"primitive": {"integer": "8"}}
    assert found["either"]["union"]["type"]["structure"]["tag"] == "int"
    assert found["anything"]["binary"]["tag"] == "msgpack"


def test_relaunch_sends_what_it_found(page: Page, world: World) -> None:
    """The form of an execution, unchanged, sends its inputs again, byte for byte."""
    open_form(page, f"{FORM}?from={world.names['every_type']}")
    assert launched(page, world) == inputs_of(world, world.names["every_type"])


def test_wrong_values_are_named_at_their_field(page: Page, world: World) -> None:
    """A value out of range is refused as typed; nothing is sent before it is right."""
    open_form(page)
    page.get_by_label("integer", exact=True).fill(str(INT64_MAX + 1))
    expect(page.get_by_text("Outside the 64-bit range")).to_be_visible()
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.get_by_label("integer", exact=True)).to_be_focused()
    expect(page.get_by_role("alert")).to_have_text("1 field needs attention")
    assert page.url.split("?")[0].endswith("/launch")


def test_a_refusal_lands_at_its_field(page: Page, world: World, faults: Faults) -> None:
    """The name of an execution that exists is refused by the server; the message is below the name."""
    faults.allow("409 POST .*/executions$")
    open_form(page)
    name = page.get_by_label("Name of the execution")
    name.fill(world.names["every_type"])
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()


def test_drafts_survive_a_reload(page: Page) -> None:
    """What was typed is there after a reload, as after a login."""
    open_form(page)
    page.get_by_label("integer", exact=True).fill("77")
    page.reload()
    expect(page.get_by_label("integer", exact=True)).to_have_value("77")


def test_all_inputs_as_json(page: Page) -> None:
    """JSON of all inputs fills the fields, with unknown names refused."""
    open_form(page)
    page.get_by_role("button", name="All as JSON").click()
    text = page.get_by_label("All inputs as JSON")
    text.fill('{"nobody": 1}')
    page.get_by_role("button", name="Use this JSON").click()
    expect(page.get_by_text("No inputs of this name: nobody")).to_be_visible()
    text.fill(f'{{"integer": {INT64_MAX}, "text": "x"}}')
    page.get_by_role("button", name="Use this JSON").click()
    expect(page.get_by_label("integer", exact=True)).to_have_value(str(INT64_MAX))


def test_curl_is_the_same_launch(page: Page, world: World) -> None:
    """The copied command launches with the inputs and options of the form."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_form(page)
    page.get_by_role("textbox", name="text", exact=True).fill("it's `quoted` $HOME")
    page.get_by_text("Advanced options").click()
    page.get_by_role("button", name="Add to Labels").click()
    page.get_by_label("Key 1 of Labels").fill("team")
    page.get_by_label("Value 1 of Labels").fill("vision")
    page.get_by_label("Tags").fill("exp1, exp2")
    page.get_by_label("Max parallelism").fill("3")
    page.get_by_role("button", name="curl").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_have_count(1)
    command = page.evaluate("navigator.clipboard.readText()")
    reply = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout)
    name = reply["id"]["name"]
    assert inputs_of(world, name)["text"]["scalar"]["primitive"]["string_value"] == "it's `quoted` $HOME"
    spec = world.remote.call("GET", f"/executions/{PROJECT}/{DOMAIN}/{name}")["spec"]
    assert (spec["labels"]["values"], spec["tags"], spec["max_parallelism"]) == (
        {"team": "vision"},
        ["exp1", "exp2"],
        3,
    )


def test_a_file_is_uploaded(page: Page, world: World) -> None:
    """A chosen file lies in the store at the address that the form shows."""
    open_form(page, f"{SCOPE}/tasks/shown.seen/launch")
    page.get_by_label("Upload file").set_input_files(
        {"name": "given ä.txt", "mimeType": "text/plain", "buffer": b"the content"}
    )
    address = page.get_by_label("file", exact=True)
    expect(address).not_to_have_value("")
    query = urlencode({"native_url": address.input_value()})
    signed = world.remote.call("GET", f"/dataproxy/artifact_urn?{query}")["signed_url"]
    assert page.request.get(signed).text() == "the content"


@both_themes
@both_widths
def test_form_is_accessible(page: Page, world: World) -> None:
    """The form, its options and a problem pass axe, and the page does not scroll sideways."""
    open_form(page)
    page.get_by_text("Advanced options").click()
    page.get_by_label("integer", exact=True).fill("x")
    expect(page.get_by_text("An integer, such as 42, is needed")).to_be_visible()
    # The bar at the top stays while the page scrolls, so it covers some control wherever a script scrolls to.
    page.evaluate("scrollTo(0, 0)")
    check_accessible(page)
    check_no_sideways_scrolling(page)

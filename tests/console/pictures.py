"""Draw the pictures of docs/console.md from a server of tests/console/world.py.

python -m tests.console.pictures HOME: the home that `python -m tests.console.world` printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.console import world as worlds
from tests.console.checks import open_page
from tests.console.world import SCOPE
from tests.support.browser import browsing, tab

FOLDER = Path(__file__).parents[2] / "docs" / "images"
BYTES_MAX = 150_000
# Picture → (scenario of the world or "", path or query, theme).
PICTURES = {
    "executions": ("", f"{SCOPE}/executions", "light"),
    "execution": ("failing_for_now", "?node=n0&panel=log", "light"),
    "graph": ("dynamic", "?tab=graph", "light"),
    "map": ("most_fail", "?node=n1", "light"),
    "outputs": ("every_type", "?node=n0&panel=outputs", "dark"),
    "launch": ("", f"{SCOPE}/workflows/shown.every_type/launch", "light"),
    "workflows": ("", f"{SCOPE}/workflows", "light"),
    "workflow": ("", f"{SCOPE}/workflows/graphs.choices", "light"),
    "grid": ("", f"{SCOPE}/workflows/graphs.choices/grid", "light"),
    "schedules": ("", f"{SCOPE}/schedules", "light"),
    "settings": ("", f"{SCOPE}/settings", "light"),
    "projects": ("", "/console/select-project", "light"),
}
# Replace the folders of this machine in tracebacks.
_WITHOUT_FOLDERS = r"""() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    text.data = text.data.replace(/"\/[^"]*\/(site-packages|flows)\//g, '"/home/ann/$1/');
  }
}"""


def main(home: Path) -> None:
    """Write each picture, and fail for one that is larger than the repository allows."""
    world = worlds.running_at(home)
    FOLDER.mkdir(exist_ok=True)
    with browsing() as browser:
        for name, (scenario, path, theme) in PICTURES.items():
            options = {"base_url": world.web, "color_scheme": theme, "viewport": {"width": 1200, "height": 720}}
            with tab(browser, **options, timezone_id="UTC", locale="en-GB", reduced_motion="reduce") as page:
                open_page(page, world.execution(scenario) + path if scenario else path)
                page.wait_for_timeout(1500)
                page.evaluate(_WITHOUT_FOLDERS)
                file = FOLDER / f"console-{name}.png"
                page.screenshot(path=str(file))
                size = file.stat().st_size
                print(f"{file.name}: {size} bytes")  # noqa: T201
                if size > BYTES_MAX:
                    raise SystemExit(f"{file.name} has {size} bytes, more than {BYTES_MAX}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

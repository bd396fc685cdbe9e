"""A plot of one result, as SVG: for each route the server's ratio as a bar, Go's and the target as marks."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

PLOT = Path(__file__).with_name("routes.svg")
WIDTH, LEFT, ROW, TOP, BOTTOM = 900, 290, 34, 56, 16
# Two steps of one hue for the databases, a neutral for Go, an accent for the target; all read on white and on black.
COLOURS = {"postgresql": "#2f6fb4", "sqlite": "#8fb8e0", "go": "#d9822b", "target": "#3a8f4d"}
NAMES = {"postgresql": "this server, PostgreSQL", "sqlite": "this server, SQLite", "go": "Go", "target": "target"}
TITLES = {
    "ratio": "Requests per second",
    "ratio_by_cpu": "Requests per CPU time of server, database and client (the machine was busy)",
}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.m{fill:#57606a}.g{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}.g{stroke:#3d444d}}"
)


def svg(result: dict[str, Any]) -> str:
    """Bars relative to Go's ratio would hide which routes are slow, so they are relative to the target: 1 is met.

    Where other programs ran beside the measurement, the bars are of the ratios by CPU time, and the title says so.
    """
    quiet = all(row.get("alone", True) for row in result["routes"])
    ratio = "ratio" if quiet else "ratio_by_cpu"
    routes: dict[str, dict[str, Any]] = {}
    for row in result["routes"]:
        routes.setdefault(row["route"], {})[row["database"]] = row
    longest = max(max(one[ratio], one["ratio_go"]) / one["ratio_target"] for one in result["routes"])
    scale = (WIDTH - LEFT - 70) / max(longest, 1.0)
    height = TOP + ROW * len(routes) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{_STYLE}</style>",
        _text(0, 16, f"{TITLES[ratio]} as a share of the target ({result['at'][:10]})"),
        *_legend(),
    ]
    for number, (name, rows) in enumerate(routes.items()):
        parts += _route(name, rows, TOP + ROW * number, scale, ratio)
    at, end = LEFT + scale, TOP + ROW * len(routes)
    parts.append(f'<path d="M{at:.1f} {TOP - 4}V{end}" stroke="{COLOURS["target"]}" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> list[str]:
    parts, x = [], LEFT
    for key, name in NAMES.items():
        parts.append(f'<rect x="{x}" y="28" width="10" height="10" rx="2" fill="{COLOURS[key]}"/>')
        parts.append(_text(x + 15, 37, name))
        x += 40 + 7 * len(name)
    return parts


def _route(name: str, rows: dict[str, Any], y: float, scale: float, ratio: str) -> list[str]:
    parts = [_text(LEFT - 10, y + 18, name, "end")]
    any_row = next(iter(rows.values()))
    for place, database in enumerate(rows):
        row = rows[database]
        share = row[ratio] / row["ratio_target"]
        length = share * scale
        top = y + 3 + place * 12
        parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="10" rx="2" fill="{COLOURS[database]}">'
            f"<title>{escape(name)}, {database}: {row[ratio]}, target {row['ratio_target']}</title></rect>"
        )
        parts.append(_text(LEFT + length + 6, top + 9, f"{share:.2f}", kind="m"))
    go = LEFT + any_row["ratio_go"] / any_row["ratio_target"] * scale
    parts.append(f'<path d="M{go:.1f} {y + 1}v26" stroke="{COLOURS["go"]}" stroke-width="3"/>')
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of_kind}>{escape(text)}</text>'

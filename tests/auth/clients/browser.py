"""A browser without a screen: `BROWSER="python browser.py CA.pem %s"`. It follows redirects and submits forms."""

from __future__ import annotations

import html.parser
import sys

import httpx

STEPS_MAX = 30


class Form(html.parser.HTMLParser):
    """The first form of a page: where it is sent, and its fields. Of buttons with one name, `approve` is pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.method = "get"
        self.fields: dict[str, str] = {}
        self._forms = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._forms += 1
            if self._forms == 1:
                self.action, self.method = given.get("action", ""), given.get("method", "get").lower()
        elif self._forms == 1 and tag in ("input", "button") and given.get("name"):
            name, value = given["name"], given.get("value", "")
            if value == "approve":
                self.fields[name] = value
            else:
                self.fields.setdefault(name, value)


def walk(client: httpx.Client, url: str) -> httpx.Response:
    """Follow redirects and submit forms until a page has neither."""
    answer = client.get(url)
    for _ in range(STEPS_MAX):
        form = Form()
        if answer.is_redirect:
            answer = client.get(answer.url.join(answer.headers["location"]))
            continue
        if "text/html" in answer.headers.get("content-type", ""):
            form.feed(answer.text)
        if form.action is None:
            return answer
        target = str(answer.url.join(form.action)) if form.action else str(answer.url)
        if form.method == "post":
            # As browsers do for a form of the same origin.
            origin = f"{answer.url.scheme}://{answer.url.netloc.decode()}"
            headers = {"origin": origin, "sec-fetch-site": "same-origin", "referer": str(answer.url)}
            answer = client.post(target, data=form.fields, headers=headers)
        else:
            answer = client.get(target, params=form.fields)
    raise AssertionError(f"more than {STEPS_MAX} steps")


if __name__ == "__main__":
    with httpx.Client(verify=sys.argv[1], timeout=30) as browser:
        ended = walk(browser, sys.argv[2])
    if ended.status_code >= 400:
        sys.exit(f"{ended.status_code} {ended.url} {ended.text[:500]}")

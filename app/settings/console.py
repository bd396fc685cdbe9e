"""Section `console`: the console in a browser. Not upstream's, whose console is another program."""

from app.settings.hosts import WebOrigin
from app.settings.values import Section


class Console(Section):
    """The pages at /console."""

    enabled: bool = True
    """Serve the console at `/console`, and redirect `/` to it; as `flyteadmin serve --console`. Not upstream's."""

    content_origins: tuple[WebOrigin, ...] = ()
    """Further origins, as `scheme://host[:port]`, from which the console may show decks and load outputs: those of
    buckets beside the server's own storage. Not upstream's."""

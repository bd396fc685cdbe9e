"""Logging by structlog: readable on a terminal, one JSON object per line elsewhere.

Every line has the variables that are bound to structlog's context. Secrets are masked in values and tracebacks
(app/settings/secrets.py).
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from app import last_error
from app.settings import Masker, Settings, masker_of

# Upstream counts 0 panic, 1 fatal, 2 error, 3 warning, 4 info, 5 debug, 6 trace.
_LEVELS = (
    logging.CRITICAL,
    logging.CRITICAL,
    logging.ERROR,
    logging.WARNING,
    logging.INFO,
    logging.DEBUG,
    logging.DEBUG,
)


def without_secrets(masker: Masker) -> Processor:
    """Return a processor that masks secrets. It must follow the one that formats tracebacks."""

    def mask(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {name: masker.value(value, name) for name, value in event.items()}

    return mask


def set_up(settings: Settings) -> None:
    """Send structlog's and the libraries' log to stderr in one form. A later call changes the level."""
    level = logging.CRITICAL + 1 if settings.logger.mute else _LEVELS[settings.logger.level]
    kind = settings.logger.formatter.type
    readable = kind == "text" or (kind == "" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable, key="time"),
    ]
    if settings.logger.show_source:
        shared.append(structlog.processors.CallsiteParameterAdder())
    # The renderer's default traceback prints local variables, and with them settings and requests.
    console = structlog.dev.ConsoleRenderer(
        timestamp_key="time", colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    rendering: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        without_secrets(masker_of(settings)),
        last_error.remember,
        console if readable else structlog.processors.JSONRenderer(_json),
    ]
    structlog.configure(
        # Loggers are made once. So they pass every line, and the first processor drops those below the present level.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # At INFO these repeat our own lines about the start, or log each request.
    for chatty in ("asyncio", "mcp", "uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def _json(value: Any, default: Any = str, **_: Any) -> str:
    try:
        return orjson.dumps(value, default=default, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # orjson refuses text that is not UTF-8, such as the path of a request. json escapes it.
        return json.dumps(value, default=default)

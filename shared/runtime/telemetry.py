"""Logs: one JSON line per fact on stdout, with the id of the request that is handled. API keys, prompts and answers are
never logged. Fields are ids, counts and units; see `CONTRIBUTING.md` for the wording.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from shared.json_lines import one_line
from shared.runtime.metrics import ALERTS

if TYPE_CHECKING:
    from shared.settings import Settings

QUIET_LIBRARIES = (
    "arq",
    "aiohttp.access",
    "httpx2",
    "httpcore2",
    "openai",
    "botocore",
    "aiobotocore",
    "websockets",
    "urllib3",
)


def configure(settings: Settings, process: str) -> None:
    """Send structlog's and the standard library's logs to stdout in one form. Call this once, first thing in a process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        count_alerts,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    renderer = (
        structlog.dev.ConsoleRenderer()
        if settings.log_format == "console"
        else structlog.processors.JSONRenderer(_json)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove_meta, renderer])
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in QUIET_LIBRARIES:  # they log every request again, and some log payloads
        logging.getLogger(name).setLevel(logging.WARNING)
    # aiohttp logs bytes that it could not parse, which may hold a key or a prompt; errors of handlers are logged by us
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    structlog.contextvars.bind_contextvars(process=process)


def count_alerts(_: object, __: str, event: EventDict) -> EventDict:
    """Count every line with `alert=True` under its event, so that code that alerts need not update the metric."""
    if event.get("alert"):
        ALERTS.labels(event["event"]).inc()
    return event


def _json(event: dict[str, Any], **_: Any) -> str:  # noqa: ANN401 - structlog's own signature
    return one_line(msgspec.json.encode(event, enc_hook=str)).decode()

"""One JSON line per event on stderr, for all parts alike."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN: Final = (str, int, float, bool, list, tuple, dict, type(None))
_LEVELS: Final = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time, level, component, logger, message, `extra`, exception."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, whatever the message holds (JSON escapes line ends)."""
        moment = datetime.fromtimestamp(record.created, tz=UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": _LEVELS.get(record.levelname, record.levelname.lower()),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Libraries attach objects of their own (Kopf its settings): those are no event's data.
        line |= {
            key: value
            for key, value in vars(record).items()
            if key not in _STANDARD.union(line) and isinstance(value, _PLAIN)
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(component: str, level: int = logging.INFO) -> None:
    """Send every logger's events to stderr as JSON lines, and nowhere else. Call once, at the start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These tell every request or event at INFO: our own metrics count them already.
    for noisy in ("httpx", "httpcore", "aiohttp.access", "urllib3", "kubernetes.client.rest", "kopf.objects"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    # Its retries; who asked says how it ended.
    logging.getLogger("urllib3.connectionpool").setLevel(max(level, logging.ERROR))

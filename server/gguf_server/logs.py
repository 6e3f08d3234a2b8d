"""How log lines look: for people on a console, or as JSON for a collector. On stderr."""

import json
import logging
import sys
import time
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")


class ConsoleFormatter(logging.Formatter):
    """``12:00:00 INFO  engine: text``"""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = record.name.removeprefix("gguf_server.")
        line = f"{clock} {record.levelname:<7} {name}: {record.getMessage()}"
        if current := request_id.get():
            line += f" [{current}]"
        return _with_traceback(self, record, line)


class JsonFormatter(logging.Formatter):
    """One object a line, with the fields collectors know."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _with_traceback(self, record, record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, log_format: str) -> None:
    """Route everything through one handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("uvicorn.access", "uvicorn.error", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _with_traceback(formatter: logging.Formatter, record: logging.LogRecord, line: str) -> str:
    return f"{line}\n{formatter.formatException(record.exc_info)}" if record.exc_info else line

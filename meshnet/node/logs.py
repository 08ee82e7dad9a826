"""How the node writes its log: one line per event, as text or JSON, fields after the message."""

from __future__ import annotations

import json
import logging

# What every LogRecord has; anything else was given as a field.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``2026-01-02T03:04:05 info link established peer=1234abcd addr=...``."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        fields = "".join(f" {key}={_plain(value)}" for key, value in _fields(record).items())
        line = f"{stamp} {record.levelname.lower()} {record.getMessage()}{fields}"
        return (
            line if record.exc_info is None else line + "\n" + self.formatException(record.exc_info)
        )


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info is not None:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def start_logging(level: str, form: str) -> None:
    """Log to stderr from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _plain(value: object) -> str:
    text = str(value)
    return json.dumps(text) if " " in text or not text else text

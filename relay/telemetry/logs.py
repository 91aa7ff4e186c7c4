"""structlog set up for Relay: one line a happening, whatever the values hold."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from relay.telemetry.log_writer import LineWriter

MASK = "[masked]"

_SENSITIVE = re.compile(r"secret|token|authorization|password|signature|cookie", re.IGNORECASE)

_DETAIL = re.compile(r"(?m)^(DETAIL:\s*).*$")
_CREDENTIAL = re.compile(
    r"""
      (?P<name>(?:secret|token|password|signature|api[_-]?key)[\w.-]{0,32}=)[^\s&;,'"]+
    | (?P<header>\b(?:authorization|(?:set-)?cookie)\b['"]?\s*:\s*['"]?)[^\r\n'"]+
    | (?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{16,}
    | (?P<user>://)[^/\s@]+(?=@)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_LONGEST_URL = 1_024

# Relay's own keys need no look at their names; `secret_index` is a number that operators rotate by.
_PLAIN = frozenset(
    {
        "timestamp",
        "level",
        "event",
        "node",
        "event_id",
        "delivery_id",
        "provider_id",
        "source",
        "type",
        "route",
        "routes",
        "destination",
        "deliveries",
        "secret_index",
        "bytes",
        "duration_ms",
        "attempt",
        "outcome",
        "status",
        "error",
        "note",
        "decision",
        "next_attempt_at",
        "reason",
        "remote",
        "path",
        "owners_lost",
    }
)

_NODE_SHOWN = 8
_LIBRARY_TEXT = 4_096
_LIBRARY_TRACE = 16_384


class Stamp:
    """Processor: timestamp in UTC with microseconds, and level; the date is formatted once a second."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # One value, so that a thread that looks while another sets sees both halves or neither.
        self._formatted = (-1, "")

    def __call__(self, _: WrappedLogger, level: str, line: EventDict) -> EventDict:
        """Fill in both."""
        now = self._clock()
        second = int(now)
        formatted, prefix = self._formatted
        if second != formatted:
            prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._formatted = (second, prefix)
        line["timestamp"] = f"{prefix}{int((now - second) * 1e6):06d}Z"
        line["level"] = level
        return line


def redact(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Processor: mask every value whose key, at any depth, names a secret."""
    if line.keys() <= _PLAIN:
        return line
    return {
        key: value if key in _PLAIN else MASK if _SENSITIVE.search(key) else _redacted(value)
        for key, value in line.items()
    }


def _redacted(value: object, depth: int = 8) -> object:
    if isinstance(value, Mapping) and depth:
        return {
            str(key): MASK if _SENSITIVE.search(str(key)) else _redacted(below, depth - 1)
            for key, below in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray) and depth:
        return [_redacted(below, depth - 1) for below in value]
    return value


def masked(text: str) -> str:
    """Free text without the credentials that common marks give away: `token=`, `Bearer`, `user:word@`.

    Nor does it have the DETAIL of PostgreSQL's reports, which shows the row that was refused.
    """
    text = _DETAIL.sub(rf"\1{MASK}", text) if "DETAIL:" in text else text
    return _CREDENTIAL.sub(lambda found: f"{found[found.lastgroup or 0]}{MASK}", text)


def masked_url(url: str | None) -> str | None:
    """A URL without what may be a secret in it: a user, and every value of the query; at most 1,024 long."""
    if url is None:
        return None
    address, mark, query = url.partition("?")
    shown = "&".join(map(_masked_parameter, query[:_LONGEST_URL].split("&")))
    return cut(masked(address[:_LONGEST_URL]) + mark + shown, _LONGEST_URL)


def _masked_parameter(pair: str) -> str:
    name, mark, value = pair.partition("=")
    return f"{name}={MASK if value else ''}" if mark else MASK if pair else ""


def cut(text: str | None, length: int = 256) -> str | None:
    """Text no longer than `length`, so that a sender cannot fill the disk through the log."""
    return text if text is None or len(text) <= length else text[: length - 1] + "…"


def iso(moment: float) -> str | None:
    """Unix seconds as ISO 8601 in UTC with milliseconds; None where no calendar reaches."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


class JsonLine:
    """Processor: the line as JSON in ASCII, which leaves no byte that ends a line or colours a terminal."""

    def __init__(self) -> None:
        self._encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain).encode

    def __call__(self, _: WrappedLogger, __: str, line: EventDict) -> str:
        """Render the line; never raises."""
        try:
            return self._encode(line)
        except (ValueError, TypeError, RecursionError):
            return self._encode({_plain(key): _plain(value) for key, value in line.items()})


def _plain(value: object) -> str:
    """Text for what JSON has no form for; never raises."""
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a log line must not fail for what it shows
        return f"<{type(value).__name__}>"


def _short(line: EventDict) -> EventDict:
    """The line with the end of the node's id alone: ids begin with a time, which nodes may share."""
    node = line.get("node")
    return {**line, "node": node[-_NODE_SHOWN:]} if isinstance(node, str) else dict(line)


class ConsoleLine:
    """Processor: the line for people, by structlog's renderer; `repr` escapes all that is not printable."""

    def __init__(self, *, colours: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colours, repr_native_str=True, sort_keys=False, pad_event_to=18
        )

    def __call__(self, logger: WrappedLogger, level: str, line: EventDict) -> str:
        """Render the line; never raises."""
        try:
            return self._render(logger, level, _short(line))
        except Exception:  # noqa: BLE001 - a log line must not fail for what it shows
            return self._render(logger, level, {_plain(key): _plain(value) for key, value in line.items()})


class _Library(logging.Handler):
    """What libraries log through the standard library, as lines like all others."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            values = {"logger": record.name, "message": cut(masked(record.getMessage()), _LIBRARY_TEXT)}
            if record.exc_info:
                trace = logging.Formatter().formatException(record.exc_info)
                values["traceback"] = masked(trace[-_LIBRARY_TRACE:])
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be shown is no error
            values = {"logger": record.name, "message": f"unprintable: {_plain(record.msg)[:256]}"}
        self._logger.log(_level(record.levelno), "library.message", **values)


def _thread_met(met: threading.ExceptHookArgs) -> None:
    """Log what a thread met and could not hand to anybody; most of them end of it."""
    name = "unknown" if met.thread is None else met.thread.name
    error = met.exc_value or met.exc_type()
    logging.getLogger("relay.threads").error("in the thread %s: %s", name, error, exc_info=error)


def _level(number: int) -> int:
    """The nearest level below that structlog knows."""
    return max(logging.WARNING, min(logging.CRITICAL, number // 10 * 10))


class Logs:
    """The logger of this process; `close` writes what waits and gives the standard library back."""

    def __init__(self, logger: FilteringBoundLogger, writer: LineWriter) -> None:
        self.logger = logger
        self._writer = writer
        self._handler = _Library(logger)
        root = logging.getLogger()
        self._before = (root.handlers[:], root.level)
        root.handlers[:] = [self._handler]
        root.setLevel(logging.WARNING)
        # One line per event is Relay's own; uvicorn's would be a second, with the query in it.
        logging.getLogger("uvicorn.access").propagate = False
        # Unset, uvicorn takes it for its most talkative level and formats a line per connection.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)
        self._excepthook = threading.excepthook
        threading.excepthook = _thread_met

    def close(self) -> None:
        """Write what waits; may be called twice."""
        self._writer.close()
        root = logging.getLogger()
        if self._handler in root.handlers:
            root.handlers[:], level = self._before
            root.setLevel(level)
            logging.getLogger("uvicorn.access").propagate = True
            logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
            logging.captureWarnings(capture=False)
            threading.excepthook = self._excepthook


def configure(
    *,
    log_format: Literal["json", "console"] = "json",
    log_level: str = "info",
    stream: TextIO | None = None,
    turns: int | None = None,
) -> Logs:
    """Set up logging for this process, on stdout unless a stream is given; `turns` as `LineWriter` has it."""
    stream = stream if stream is not None else sys.stdout
    stamp = Stamp()
    colours = log_format == "console" and stream is not None and stream.isatty()
    render: Processor = JsonLine() if log_format == "json" else ConsoleLine(colours=colours)

    def lost(count: int) -> str:
        line: Any = {**_FIRST, "event": "library.message", "logger": "relay", "message": _LOST.format(count)}
        return str(render(None, "error", stamp(None, "error", line)))

    writer = LineWriter(stream, lost=lost, turns=turns)
    bound: Any = structlog.make_filtering_bound_logger(log_level.lower())
    return Logs(bound(writer, [stamp, redact, render], dict(_FIRST)), writer)


# Bound before all else, so that these keys come first on every line without being sorted.
_FIRST: Mapping[str, str] = {"timestamp": "", "level": "", "event": ""}

_LOST = "{} log lines were lost: standard output took none"

"""Log lines in IoT Edge's form, from our own events and from every library alike.

``<6> 2026-11-23 10:20:30.123 +00:00 [INF] blob.pulled digest=sha256:... bytes=12``: a syslog
severity that ``GetModuleLogs`` filters by, a time in UTC, then the event and its keys. One record
is one line: tracebacks are folded, control characters escaped, secrets taken out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import Processor

from connected_registry.errors import ConfigurationError

LogForm = Literal["auto", "edge", "plain"]
"""``edge`` for containers, ``plain`` for people; ``auto`` is plain on a terminal."""

LEVELS: Final[Mapping[str, int]] = {
    "Debug": logging.DEBUG,
    "Information": logging.INFO,
    "Warning": logging.WARNING,
    "Error": logging.ERROR,
    "None": logging.CRITICAL + 10,
}
"""The twin contract's level names; ``None`` is above everything that is ever logged."""

_SEVERITIES: Final = (
    (logging.CRITICAL, 2, "FTL"),
    (logging.ERROR, 3, "ERR"),
    (logging.WARNING, 4, "WRN"),
    (logging.INFO, 6, "INF"),
    (logging.NOTSET, 7, "DBG"),
)

_CHATTY: Final = frozenset(
    {"alembic", "asyncio", "azure", "httpcore", "httpx", "paho", "sqlalchemy", "urllib3"}
)
"""Libraries that log each request; some write headers and tokens at their debug level."""

HIDDEN: Final = "***"

_SECRET_KEY = re.compile(
    r"(?i)^(proxy[-_])?authorization$|^(set[-_])?cookie$|(password|passwd|secret|credentials?)$"
    r"|^(access|refresh|sas|bearer)_?token$|^(shared_?access_?)?(key|signature)$|connection_?string$"
)
_SECRET_TEXT: Final = (
    (
        re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?)(?:(basic|bearer)\s+)?[^\s'\",;]+"),
        r"\1***",
    ),
    (re.compile(r"(?i)\b(basic|bearer)\s+[A-Za-z0-9._~+/-]{8,}=*"), r"\1 ***"),
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@]*):[^\s/?#]*@"), r"\1:***@"),
    (
        re.compile(
            r"(?i)((?:\b|_)(?:[a-z]*password|passwd|secret|sharedaccesskey|sharedaccesssignature"
            r"|access_token|refresh_token|sig)['\"]?\s*[=:]\s*['\"]?)[^\s&;,'\"]+"
        ),
        r"\1***",
    ),
)


def redact(text: str) -> str:
    """``text`` without passwords in URLs, authorization headers and ``password=`` pairs."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def one_line(text: str) -> str:
    r"""``text`` with everything that is not printable escaped (``\n``, ``\x1b``, ``\u2028``)."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def level_number(name: str) -> int:
    """The number of one of the contract's level names; `ConfigurationError` for any other."""
    try:
        return LEVELS[name]
    except KeyError:
        raise ConfigurationError("logLevel", name, f"use one of {', '.join(LEVELS)}") from None


def set_level(name: str) -> None:
    """Let records of this level and above through from now on; raises `ConfigurationError`."""
    level = level_number(name)
    logging.getLogger().setLevel(level)
    quiet = logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING)
    for library in _CHATTY:
        logging.getLogger(library).setLevel(quiet)


def configure(
    level: str = "Information",
    form: LogForm = "auto",
    stream: TextIO | None = None,
    *,
    floor: str = "Debug",
) -> None:
    """Send every record of the process to ``stream`` (standard error) in one form.

    Nothing below ``floor`` is sent whatever level is set later. May be called again: the last
    call counts.
    """
    output = sys.stderr if stream is None else stream
    plain = form == "plain" or (form == "auto" and output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level_number,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setLevel(level_number(floor))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.contextvars.merge_contextvars],
            processors=[
                structlog.processors.format_exc_info,
                render_plain if plain else render_edge,
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)


def render_edge(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One record in IoT Edge's form."""
    severity, word = _severity(event)
    moment = _moment(event)
    stamp = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} +00:00"
    return f"<{severity}> {stamp} [{word}] {_text(event, fold)}"


def render_plain(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One record for a person at a terminal; a traceback keeps its lines."""
    _severity_number, word = _severity(event)
    exception = event.pop("exception", None)
    line = f"{_moment(event):%H:%M:%S} {word} {_text(event, fold)}"
    if exception:
        lines = redact(str(exception)).splitlines()
        line = "\n".join([line, *(f"    {one_line(each)}" for each in lines)])
    return line


def fold(traceback: str) -> str:
    """A traceback on one line, its lines parted by ``|``."""
    return " | ".join(line.strip() for line in traceback.splitlines() if line.strip())


def _severity(event: MutableMapping[str, Any]) -> tuple[int, str]:
    record = event.get("_record")
    level = event.get("level_number", record.levelno if record else logging.INFO)
    return next((number, word) for floor, number, word in _SEVERITIES if level >= floor)


def _moment(event: MutableMapping[str, Any]) -> datetime:
    record = event.get("_record")
    return datetime.fromtimestamp(record.created, UTC) if record else datetime.now(UTC)


def _text(event: MutableMapping[str, Any], fold_exception: Any) -> str:
    parts = [str(event.get("event", ""))]
    for key, value in event.items():
        if key in {"event", "_record", "_from_structlog", "level_number", "level"}:
            continue
        if key == "exception":
            parts.append(f"exception={_quoted(fold_exception(str(value)))}")
        else:
            parts.append(f"{key}={_printed(_clean(key, value))}")
    return one_line(redact(" ".join(parts)))


def _clean(key: str, value: object) -> object:
    """``value`` with secrets taken out at any depth, before quoting hides what surrounds them."""
    if _SECRET_KEY.search(key):
        return HIDDEN
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", each) for each in value]
    return value


def _printed(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Quoted only where a reader could not tell where the value ends."""
    if text and not any(character in text for character in ' "=\t\r\n'):
        return text
    return json.dumps(text, ensure_ascii=False)

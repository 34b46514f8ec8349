"""Log lines."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from datetime import datetime

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connected_registry.errors import ConfigurationError
from connected_registry.log import configure, level_number, one_line, redact, set_level

EDGE_AGENT = re.compile(
    r"^\s*(<(?P<level>\d)>)?\s*((?P<time>\d{4}-\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}.\d{3}\s[+-]\d{2}:\d{2})\s)?"
    r"\s*(?P<text>.*)"
)
"""The form that edgeAgent reads severities and times from."""


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _log() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("test")
    return logger


def _configured(form: str = "edge", level: str = "Debug") -> io.StringIO:
    output = io.StringIO()
    configure(level, "plain" if form == "plain" else "edge", output)
    return output


@pytest.mark.parametrize(
    ("method", "severity", "word"),
    [
        ("debug", "7", "DBG"),
        ("info", "6", "INF"),
        ("warning", "4", "WRN"),
        ("error", "3", "ERR"),
        ("critical", "2", "FTL"),
    ],
)
def test_lines_have_the_form_that_edge_agent_reads(method: str, severity: str, word: str) -> None:
    """Severity, time with three fraction digits and an offset with colon, level, event and keys."""
    output = _configured()
    getattr(_log(), method)("blob.pulled", bytes=12, name="a b", ok=True, none=None)
    match = EDGE_AGENT.match(output.getvalue())
    assert match is not None
    assert match["level"] == severity
    assert datetime.strptime(match["time"], "%Y-%m-%d %H:%M:%S.%f %z").tzinfo is not None
    assert match["text"] == f'[{word}] blob.pulled bytes=12 name="a b" ok=true none=null'


def test_library_records_have_the_same_form() -> None:
    """A record of the standard library's logging is a line like any other."""
    output = _configured()
    logging.getLogger("uvicorn.error").warning("Started %s", "server")
    match = EDGE_AGENT.match(output.getvalue())
    assert match is not None
    assert (match["level"], match["text"]) == ("4", "[WRN] Started server")


def test_tracebacks_are_folded_into_their_line() -> None:
    """An exception is one line, so that its severity holds for all of it."""
    output = _configured()
    try:
        raise ValueError("wrong\nthing")
    except ValueError:
        _log().exception("job.failed", job="sync")
    (line,) = output.getvalue().splitlines()
    assert line.startswith("<3>")
    assert "ValueError: wrong | thing" in line


def test_control_characters_are_escaped() -> None:
    """What a client sends cannot start a line of its own or steer a terminal."""
    output = _configured()
    _log().info("request\n<2> forged", path="/v2/\x1b[31m\r\n<3> forged\u2028x")
    (line,) = output.getvalue().splitlines()
    assert line.isprintable()


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """Escaping leaves nothing that is not printable, and printable text as it is."""
    assert one_line(text).isprintable()
    if text.isprintable():
        assert one_line(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "GET https://user:hunter2@host/v2/",
        "https://hunter2:hunter2@h hunter".replace("hunter2:", "u:"),
        "Authorization: Basic hunter2hunter2=",
        "authorization=Bearer hunter2.hunter2.hunter2",
        "'Authorization': 'Bearer hunter2hunter2'",
        "sent Bearer hunter2hunter2hunter2",
        "https://h/c?sv=1&sig=hunter2&x=1",
        "password=hunter2 next",
        "SyncTokenPassword=hunter2;ParentGatewayEndpoint=h",
        'body {"access_token": "hunter2"}',
        "HostName=h;SharedAccessKey=hunter2=",
    ],
)
def test_secrets_in_texts_are_taken_out(text: str) -> None:
    """Passwords in URLs, authorization headers and ``password=`` pairs never reach a log."""
    assert "hunter2" not in redact(text)
    output = _configured()
    _log().info("seen", text=text, nested={"text": text})
    logging.getLogger("other").info("%s", text)
    assert "hunter2" not in output.getvalue()


def test_secrets_by_their_keys_are_taken_out() -> None:
    """A value under a secret's name is hidden whatever it looks like."""
    output = _configured()
    _log().info(
        "seen",
        password="hunter2",
        headers={"Authorization": "hunter2", "X": "y"},
        wrapped=SecretStr("hunter2"),
    )
    assert "hunter2" not in output.getvalue()
    assert '"X": "y"' in output.getvalue()


def test_names_and_digests_are_left_alone() -> None:
    """Redaction takes secrets only."""
    text = "token=plant7 sha256:abc https://host:5000/v2/a/manifests/1.0@x"
    assert redact(text) == text


def test_level_changes_at_run_time() -> None:
    """The twin's level holds from the moment it is set, for loggers that exist already too."""
    output = _configured(level="Warning")
    log = _log()
    log.info("one")
    set_level("Information")
    log.info("two")
    set_level("None")
    log.critical("three")
    assert [line.split()[-1] for line in output.getvalue().splitlines()] == ["two"]


def test_floor_holds_whatever_level_is_set() -> None:
    """A command's terminal shows nothing below its floor, though the twin's level lets it."""
    output = io.StringIO()
    configure(form="edge", stream=output, floor="Warning")
    set_level("Debug")
    _log().info("one")
    _log().warning("two")
    assert [line.split()[-1] for line in output.getvalue().splitlines()] == ["two"]


def test_chatty_libraries_are_quiet_below_debug() -> None:
    """Each request of the HTTP client is no event of ours."""
    output = _configured(level="Information")
    logging.getLogger("httpx").info("HTTP Request: GET https://h/")
    logging.getLogger("httpx").warning("odd")
    assert [line.split()[-1] for line in output.getvalue().splitlines()] == ["odd"]


def test_unknown_levels_are_refused() -> None:
    """A level that the contract does not have names those that it has."""
    with pytest.raises(ConfigurationError, match="Debug, Information, Warning, Error, None"):
        level_number("Trace")


def test_configuring_again_replaces_the_output() -> None:
    """The last configuration counts; no line is written twice."""
    first = _configured()
    second = _configured()
    _log().info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_plain_lines_are_for_people() -> None:
    """On a terminal the severity number and the date are left out, tracebacks keep their lines."""
    output = _configured("plain")
    try:
        raise ValueError("no")
    except ValueError:
        _log().exception("job.failed", job="sync")
    first, *rest = output.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERR job.failed job=sync", first)
    assert rest[-1].strip() == "ValueError: no"

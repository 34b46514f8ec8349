"""What the parent said, in our words: statuses and library errors become `ParentError`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from connected_registry.errors import (
    ParentError,
    ParentFailed,
    ParentNotFound,
    ParentOffline,
    ParentThrottled,
    ParentUnauthorized,
    ParentUnavailable,
)
from connected_registry.parent.address import shown

LONGEST_TEXT: Final = 200
LONGEST_WAIT: Final = 24 * 3600.0
BIG_JSON: Final = 256 * 1024
ENDED_EARLY: Final = ("disconnected", "peer closed connection", "ConnectionTerminated")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with a bounded body. ``asked`` is "GET host/path", without a query."""

    asked: str
    url: httpx.URL
    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def code(self) -> str:
        """The first error code of an OCI error envelope, or nothing."""
        return _first_error(self.content)[0]

    @property
    def media_type(self) -> str:
        """``Content-Type`` without parameters."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    async def json(self) -> Any:
        """The body parsed, in a thread when it is big; raise `ParentFailed` if it is no JSON."""
        try:
            if len(self.content) > BIG_JSON:
                return await asyncio.to_thread(json.loads, self.content)
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise ParentFailed(f"the answer to {self.asked} is not JSON") from error


def name_request(method: str, url: httpx.URL) -> str:
    """A request as people read it; queries are left out, for they carry signatures."""
    path = url.raw_path.partition(b"?")[0].decode("ascii", "replace")
    return f"{method} {shown(url)}{path}"


def refusal(answer: Answer, *, own: bool) -> ParentError:
    """The error that an answer other than 2xx is.

    ``own`` is false for storage hosts that the parent sent us to: what they think of a signed
    address says nothing about our credentials.
    """
    code, message = _first_error(answer.content)
    detail = ": ".join(part for part in (code, message) if part)
    sentence = f"{answer.asked} was answered with {answer.status}"
    if detail:
        sentence += f" ({detail})"
    status, wait = answer.status, retry_after(answer.headers)
    if status == 429 or (status == 503 and wait is not None):
        return ParentThrottled(sentence, retry_after=wait)
    if status in {401, 403}:
        return ParentUnauthorized(sentence) if own else ParentUnavailable(sentence)
    if status == 404:
        return ParentNotFound(sentence)
    if status == 408 or (status >= 500 and status not in {501, 505}):
        return ParentUnavailable(sentence, retry_after=wait)
    return ParentFailed(sentence)


def retry_after(headers: httpx.Headers, now: datetime | None = None) -> float | None:
    """Seconds to wait as ``Retry-After`` says, given as seconds or as a date; a day at most."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        return min(float(text), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()), LONGEST_WAIT)


@contextmanager
def translated(asked: str) -> Iterator[None]:
    """Turn httpx's errors, and time that ran out, into ours; ``asked`` names the request."""
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        doing = "connecting" if isinstance(error, httpx.ConnectTimeout) else "waiting"
        raise ParentOffline(f"{asked}: timed out {doing}") from error
    except httpx.RemoteProtocolError as error:
        if any(words in str(error) for words in ENDED_EARLY):
            raise ParentOffline(f"{asked}: the connection ended early") from error
        raise ParentFailed(f"{asked}: the answer is no HTTP ({_plain(str(error))})") from error
    except httpx.TransportError as error:
        if (refused := _certificate_problem(error)) is not None:
            raise ParentFailed(
                f"{asked}: the certificate is not trusted ({refused}); if the parent has its own"
                " authority, configure its CA file"
            ) from error
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            raise ParentFailed(f"{asked}: {_plain(str(error))}") from error
        raise ParentOffline(f"{asked}: {_plain(str(error)) or type(error).__name__}") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise ParentFailed(f"{asked}: {_plain(str(error))}") from error


def _certificate_problem(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return _plain(error.verify_message)
        error = error.__cause__ or error.__context__
    return None


def _first_error(content: bytes) -> tuple[str, str]:
    """Code and message of an OCI error envelope, made safe to show."""
    try:
        first = json.loads(content)["errors"][0]
        return _plain(str(first.get("code", ""))), _plain(str(first.get("message", "")))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return "", ""


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST_TEXT]).strip()

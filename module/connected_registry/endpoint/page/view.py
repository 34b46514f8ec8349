"""What the page says of the facts: headlines, sentences and tones, before any markup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from connected_registry.endpoint.page import words
from connected_registry.endpoint.page.chart import Chart, draw
from connected_registry.endpoint.page.facts import (
    AbsentImage,
    DiskFacts,
    PushFacts,
    RepositoryFacts,
    RunFacts,
    SiteFacts,
)

Tone = Literal["good", "warn", "bad", "calm"]

REPOSITORIES_SHOWN: Final = 200
"""Rows of the table; those that lack something come first."""

EXPIRY_WARNING: Final = timedelta(days=14)

_REASONS: Final = {"pending": "to be fetched", "failed": "could not be fetched"}
_TRIGGERS: Final = {
    "InitialSync": "first sync",
    "Schedule": "by schedule",
    "ManualResync": "on request",
    "SyncTokenUpdate": "new credentials",
    "ScopeUpdate": "scope changed",
    "RecoveryService": "repair",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Text with how much it should worry, and less important words below it."""

    text: str
    tone: Tone = "calm"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of something, in percent, with the words for it. ``mark`` is a limit inside it."""

    label: str
    percent: float
    text: str
    tone: Tone = "good"
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class RepositoryLine:
    """A repository with its freshness in words."""

    facts: RepositoryFacts
    state: Line
    changed: str
    confirmed: str


@dataclass(frozen=True, slots=True)
class AbsentLine:
    """An image that is not here, and why."""

    name: str
    why: str
    detail: str
    size: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """A past sync."""

    when: str
    at: str
    trigger: str
    outcome: Line
    took: str
    moved: str
    error: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything the template prints that is not a plain fact."""

    headline: Line
    explanation: str
    link: Line
    sync: Line
    next_sync: str
    progress: Bar | None
    progress_now: str
    bars: tuple[Bar, ...]
    pushes: Line
    certificate: Line
    repositories: tuple[RepositoryLine, ...]
    repositories_more: int
    absent: tuple[AbsentLine, ...]
    absent_more: int
    runs: tuple[RunLine, ...]
    charts: tuple[Chart, ...]
    refresh_seconds: int


def narrow(facts: SiteFacts, sees: Callable[[str], bool], *, everything: bool) -> SiteFacts:
    """``facts`` without what names repositories that the reader may not know of.

    Sentences about errors may name any, so only who sees ``everything`` gets them.
    """
    if everything:
        return facts
    absent = tuple(image for image in facts.absent if sees(image.repository))
    return replace(
        facts,
        repositories=tuple(each for each in facts.repositories if sees(each.name)),
        absent=absent,
        absent_total=len(absent),
        troubles=tuple(
            replace(trouble, description="see the log on site") for trouble in facts.troubles
        ),
        runs=tuple(replace(run, error=None) for run in facts.runs),
        sync=replace(facts.sync, current=None),
    )


def view(facts: SiteFacts) -> View:
    """All words for ``facts``."""
    progress, now = _progress(facts)
    days = facts.traffic
    ordered = sorted(facts.repositories, key=lambda each: (not each.waiting, each.name))
    shown = ordered[:REPOSITORIES_SHOWN]
    return View(
        headline=_headline(facts),
        explanation=_explanation(facts),
        link=_link(facts),
        sync=_sync(facts),
        next_sync=_next_sync(facts),
        progress=progress,
        progress_now=now,
        bars=tuple(_disk(facts.disk)),
        pushes=_pushes(facts.pushes, facts),
        certificate=_certificate(facts),
        repositories=tuple(_repository(each, facts) for each in shown),
        repositories_more=len(facts.repositories) - len(shown),
        absent=tuple(_absent(each) for each in facts.absent),
        absent_more=max(facts.absent_total - len(facts.absent), 0),
        runs=tuple(_run(run, facts) for run in facts.runs),
        charts=(
            draw("From the parent", [(day.day, day.received) for day in days]),
            draw("Served on site", [(day.day, day.served) for day in days]),
        ),
        refresh_seconds=2 if facts.sync.running else 10,
    )


def _headline(facts: SiteFacts) -> Line:
    as_of = facts.in_sync_as_of
    if facts.parent is None:
        return Line("No parent", "calm")
    if facts.in_sync == "false":
        return Line(
            f"{words.count(facts.missing_images, 'image')} missing",
            "warn" if facts.sync.running else "bad",
        )
    if facts.scope_empty:
        return Line("Nothing to hold", "calm")
    if facts.in_sync == "unknown":
        if as_of is None:
            return Line("Not known yet", "calm" if facts.sync.running else "warn")
        return Line(f"Unknown since {words.moment(as_of, facts.now)}", "warn")
    if facts.online is False and as_of is not None:
        return Line(f"Complete as of {words.moment(as_of, facts.now)}", "warn")
    return Line("Complete", "good")


def _explanation(facts: SiteFacts) -> str:
    as_of = facts.in_sync_as_of
    when = words.ago(as_of, facts.now) if as_of is not None else None
    if facts.parent is None:
        return "This registry has no parent: it holds what is pushed to it."
    if facts.in_sync == "false":
        size = f"About {words.size(facts.missing_bytes)} to fetch. " if facts.missing_bytes else ""
        rest = "Everything else can be pulled. " if any(r.tags for r in facts.repositories) else ""
        compared = f"Last compared with the parent {when}." if when is not None else ""
        return f"{size}{rest}{compared}".strip() or "The parent was not asked to the end yet."
    if facts.scope_empty:
        return "No repositories are in scope: name them in the twin's scope.repositories."
    if facts.in_sync == "unknown":
        if when is None:
            return "The parent has not yet said what should be here."
        return f"The last complete comparison with the parent was {when}."
    if facts.online is False:
        return (
            f"Everything the parent named {when} is here and can be pulled; "
            "what it has got since cannot be known."
        )
    return f"Everything in scope is here, as the parent confirmed {when}."


def _link(facts: SiteFacts) -> Line:
    since = ""
    if facts.link_since is not None:
        since = f"since {words.moment(facts.link_since, facts.now)}"
    if facts.parent is None:
        return Line("No parent")
    if facts.online is None:
        return Line("Not tried yet")
    if facts.online:
        return Line("Online", "good", since)
    return Line("Offline", "bad", since)


def _sync(facts: SiteFacts) -> Line:
    if facts.sync.running:
        return Line("Syncing", "good")
    if facts.sync.paused:
        return Line("Paused", "warn")
    last = next((run for run in facts.runs if run.ended_at is not None), None)
    if last is None:
        return Line("No sync yet")
    outcome, ended = _outcome(last), last.ended_at or last.started_at
    return Line(f"{outcome.text} {words.ago(ended, facts.now)}", outcome.tone)


def _next_sync(facts: SiteFacts) -> str:
    sync = facts.sync
    if facts.parent is None:
        return "Nothing to sync with."
    if sync.running:
        return "A sync is running."
    if sync.paused:
        return "No sync starts until it is resumed."
    if sync.next_start is None:
        return "No sync is planned."
    seconds = (sync.next_start - facts.now).total_seconds()
    left = "now" if seconds < 1 else "within a minute" if seconds < 60 else ""
    if sync.continuous:
        return f"Syncs continuously; next {left or 'in ' + words.coarse(seconds)}."
    at = words.moment(sync.next_start, facts.now)
    return f"Next sync {left or f'at {at}, in ' + words.coarse(seconds)}: {sync.schedule}."


def _progress(facts: SiteFacts) -> tuple[Bar | None, str]:
    sync = facts.sync
    if not sync.running:
        return None, ""
    if not sync.images_total:
        return Bar("Sync", 0.0, "Asking the parent what has changed …"), ""
    share = (
        sync.bytes_done / sync.bytes_total
        if sync.bytes_total
        else sync.images_done / sync.images_total
    )
    parts = [f"{sync.images_done:,} of {words.count(sync.images_total, 'image')}"]
    if sync.bytes_total:
        parts.append(f"{words.size(sync.bytes_done)} of {words.size(sync.bytes_total)}")
    if sync.bytes_per_second:
        parts.append(f"{words.size(sync.bytes_per_second)}/s")
    if sync.seconds_left is not None:
        parts.append(f"{words.span(sync.seconds_left)} left")
    now = f"{sync.phase}: {sync.current}" if sync.current else ""
    return Bar("Sync", _percent(share), " · ".join(parts)), now


def _disk(disk: DiskFacts) -> list[Bar]:
    bars = []
    if disk.total:
        tone: Tone = "good"
        if disk.free < disk.reserve:
            tone = "bad"
        elif disk.free < 2 * disk.reserve:
            tone = "warn"
        text = f"{words.size(disk.free)} free of {words.size(disk.total)}"
        if disk.reserve:
            text += f"; {words.size(disk.reserve)} stay in reserve"
        if tone == "bad":
            text += ". Full: nothing more is fetched until there is room."
        mark = _percent(1 - disk.reserve / disk.total) if disk.reserve < disk.total else None
        bars.append(Bar("Disk", _percent(1 - disk.free / disk.total), text, tone, mark))
    if disk.quota:
        share = disk.content / disk.quota
        tone = "bad" if share >= 1 else "warn" if share >= 0.9 else "good"
        text = f"{words.size(disk.content)} of {words.size(disk.quota)} used by content"
        bars.append(Bar("Quota", _percent(share), text, tone))
    return bars


def _pushes(pushes: PushFacts, facts: SiteFacts) -> Line:
    if not pushes.waiting and not pushes.failed:
        return Line("None waiting")
    oldest = ""
    if pushes.oldest is not None:
        oldest = f"oldest {words.ago(pushes.oldest, facts.now)}"
    if pushes.failed:
        return Line(f"{pushes.waiting:,} waiting, {pushes.failed:,} failed", "bad", oldest)
    return Line(f"{pushes.waiting:,} waiting", "warn" if facts.online is False else "calm", oldest)


def _certificate(facts: SiteFacts) -> Line:
    if not facts.tls:
        return Line("None", note="plain HTTP")
    if facts.certificate_expires is None:
        return Line("TLS")
    left = facts.certificate_expires - facts.now
    if left < timedelta(0):
        return Line(f"Expired {words.ago(facts.certificate_expires, facts.now)}", "bad")
    tone: Tone = "warn" if left < EXPIRY_WARNING else "calm"
    expires = words.moment(facts.certificate_expires, facts.now)
    return Line(f"Expires in {words.coarse(left.total_seconds())}", tone, f"on {expires}")


def _repository(each: RepositoryFacts, facts: SiteFacts) -> RepositoryLine:
    if not each.known:
        state = Line("Only here")
    elif each.waiting:
        state = Line(f"{each.waiting:,} missing", "warn" if facts.sync.running else "bad")
    elif each.held_back:
        state = Line(f"Complete, {each.held_back:,} held back", "good")
    else:
        state = Line("Complete", "good")
    return RepositoryLine(
        each,
        state,
        words.ago(each.changed_at, facts.now) if each.changed_at else "–",
        words.ago(each.confirmed_at, facts.now) if each.confirmed_at else "–",
    )


def _absent(image: AbsentImage) -> AbsentLine:
    why = _REASONS.get(image.state, image.state)
    if image.reason and image.reason != image.state:
        why = f"{why}: {image.reason}"
    if image.older_held:
        why += "; an older one is here"
    size = words.size(image.bytes_missing) if image.bytes_missing else "–"
    return AbsentLine(f"{image.repository}:{image.tag}", why, image.detail or "", size)


def _outcome(run: RunFacts) -> Line:
    known: dict[str, Line] = {
        "succeeded": Line("Succeeded", "good"),
        "failed": Line("Failed", "bad"),
        "stopped": Line("Stopped", "warn"),
        "interrupted": Line("Interrupted", "warn"),
        "running": Line("Running", "good"),
    }
    return known.get(run.state, Line(run.state))


def _run(run: RunFacts, facts: SiteFacts) -> RunLine:
    took = "–"
    if run.ended_at is not None:
        took = words.span((run.ended_at - run.started_at).total_seconds())
    moved = words.count(run.images, "image")
    if run.failed:
        moved += f", {run.failed:,} failed"
    if run.bytes:
        moved += f", {words.size(run.bytes)}"
    return RunLine(
        words.ago(run.started_at, facts.now),
        words.machine(run.started_at),
        _TRIGGERS.get(run.trigger, run.trigger),
        _outcome(run),
        took,
        moved,
        run.error or "",
    )


def _percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 1)

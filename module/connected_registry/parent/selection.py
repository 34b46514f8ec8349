"""Which tags of a repository a rule wants. Pure: digests and dates are given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.oci.signature import companion_tags, is_companion_tag
from connected_registry.policy.scope import RepositoryRule, choose_newest


def candidates(rule: RepositoryRule, tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """The tags that the rule's filters let through, before ``newest``.

    Tags that belong to a digest travel with their image. They are wanted for themselves only
    where a glob names them on purpose: ``*`` alone does not mean signatures without an image.
    """
    return tuple(
        tag
        for tag in tags
        if rule.selects(tag) and (not is_companion_tag(tag) or _named(rule, tag))
    )


def _named(rule: RepositoryRule, tag: str) -> bool:
    return any(glob != "*" and fnmatchcase(tag, glob) for glob in rule.tags)


def needs_dates(rule: RepositoryRule) -> bool:
    """Whether the choice depends on when images were made; versions order themselves."""
    return rule.newest is not None and rule.semver is None


@dataclass(frozen=True, slots=True)
class Choice:
    """What ``newest`` leaves of the candidates."""

    chosen: tuple[Tag, ...]
    dropped: tuple[Tag, ...]


def choose(
    rule: RepositoryRule, tags: Collection[Tag], dates: Mapping[Tag, datetime | None]
) -> Choice:
    """Cut ``tags`` to the newest, in the order of the listing."""
    if rule.newest is None:
        return Choice(tuple(tags), ())
    newest = set(choose_newest(rule, ((tag, dates.get(tag)) for tag in tags)))
    return Choice(
        tuple(tag for tag in tags if tag in newest),
        tuple(tag for tag in tags if tag not in newest),
    )


def companions(digest: Digest, listed: Collection[Tag]) -> tuple[Tag, ...]:
    """The listed tags that belong to ``digest`` by their names."""
    return tuple(tag for tag in companion_tags(digest) if tag in listed)

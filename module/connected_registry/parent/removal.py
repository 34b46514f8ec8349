"""Which tags may be taken away: never without positive evidence, never too many at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from connected_registry.oci.reference import Tag
from connected_registry.oci.signature import is_companion_tag, subject_of_tag
from connected_registry.policy.scope import RepositoryRule
from connected_registry.storage.content import TagDetails
from connected_registry.storage.ledger import ImageState


@dataclass(frozen=True, slots=True)
class Suspects:
    """Tags of one repository that came from the parent and are not wanted as they stand.

    Tags with origin ``local`` are in none of these.
    """

    vanished: tuple[Tag, ...] = ()
    """The complete tag list does not name them: each needs its own 404 before it is removed."""
    guarded: tuple[Tag, ...] = ()
    """As above, but too many at once: kept."""
    superseded: tuple[Tag, ...] = ()
    """Fell out of ``newest`` of a rule that has not changed: removed after the newer are in."""
    out_of_scope: tuple[Tag, ...] = ()
    """No filter selects them any more: kept until purged."""


def suspects(
    rule: RepositoryRule,
    listed: Collection[Tag],
    chosen: Collection[Tag],
    held: Mapping[Tag, TagDetails],
    states: Mapping[Tag, ImageState],
    max_delete_percent: int,
) -> Suspects:
    """Sort what the repository holds; ``listed`` must be the parent's complete list."""
    synced = [tag for tag, details in held.items() if details.origin == "parent"]
    vanished = tuple(tag for tag in synced if tag not in listed)
    guarded: tuple[Tag, ...] = ()
    if len(vanished) > 1 and len(vanished) * 100 > max_delete_percent * len(synced):
        vanished, guarded = (), vanished
    unwanted = [
        tag for tag in synced if tag in listed and tag not in chosen and not is_companion_tag(tag)
    ]
    superseded = [
        tag
        for tag in unwanted
        if rule.newest is not None
        and rule.selects(tag)
        and tag in states
        and states[tag].rule_fingerprint == rule.fingerprint
    ]
    out_of_scope = tuple(tag for tag in unwanted if tag not in superseded)
    kept = {details.digest for tag, details in held.items() if tag not in superseded}
    leaving = {held[tag].digest for tag in superseded} - kept
    orphaned = [tag for tag in synced if tag in listed and subject_of_tag(tag) in leaving]
    return Suspects(vanished, guarded, (*superseded, *orphaned), out_of_scope)

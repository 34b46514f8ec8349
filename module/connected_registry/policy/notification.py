"""Which changes are told upwards: patterns ``repository[:tag][@digest]:push|delete|*``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator

from connected_registry.errors import DigestInvalid, TagInvalid
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.policy.pattern import RepositoryPattern

_REMEDY = (
    "must be a pattern such as 'team/app:push', 'team/*:*', 'team/app:1.0:delete' "
    "or 'team/app@*:push'"
)
_FORM = re.compile(
    r"(?P<name>[^:@]+)(?::(?P<tag>[^:@]+))?(?:@(?P<digest>\*|[^:@]+:[^:@]+))?:(?P<action>push|delete|\*)"
)


@dataclass(frozen=True, slots=True)
class NotificationPattern:
    """One pattern. Without tag and digest every artifact of the repository is meant."""

    repository: RepositoryPattern
    tag: str | None
    digest: str | None
    action: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `ValueError` unless ``text`` is a pattern."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(_REMEDY)
        try:
            if found["tag"] not in (None, "*"):
                Tag.parse(found["tag"])
            if found["digest"] not in (None, "*"):
                Digest.parse(found["digest"])
            name = RepositoryPattern.parse(found["name"])
        except (TagInvalid, DigestInvalid, ValueError):
            raise ValueError(_REMEDY) from None
        return cls(name, found["tag"], found["digest"], found["action"])

    def matches(self, repository: str, tag: str | None, digest: str | None, action: str) -> bool:
        """Whether a ``push`` or ``delete`` of this artifact is to be told."""
        return (
            self.action in ("*", action)
            and self.repository.matches(repository)
            and _part_matches(self.tag, tag)
            and _part_matches(self.digest, digest)
        )


def _part_matches(wanted: str | None, actual: str | None) -> bool:
    return wanted is None or (actual is not None and wanted in ("*", actual))


def check_notification(text: str) -> str:
    """``text`` if it is a pattern, else `ValueError`."""
    NotificationPattern.parse(text)
    return text


Notification = Annotated[str, AfterValidator(check_notification)]
"""A checked pattern, as text."""

"""Patterns of repository names: one name, everything that starts alike, or everything."""

from __future__ import annotations

from typing import Self

from connected_registry.errors import NameInvalid
from connected_registry.oci.reference import MAX_NAME, RepositoryName

REMEDY = "must be a repository name such as 'team/app', or end in '/*' or '*' such as 'team/*'"


class RepositoryPattern(str):
    """``team/app`` (one repository), ``team/*``, ``team*`` or ``*``; a ``str`` that was checked."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `ValueError` unless ``text`` is a name, or the start of one and a final ``*``."""
        if len(text) > MAX_NAME:
            raise ValueError(f"{REMEDY}, of at most {MAX_NAME} characters")
        # any letter makes a whole name of what can start one: 'team/' and 'team-' can, '/' cannot
        example = text[:-1][: MAX_NAME - 1] + "a" if text.endswith("*") else text
        try:
            RepositoryName.parse(example)
        except NameInvalid:
            raise ValueError(REMEDY) from None
        return cls(text)

    @property
    def is_pattern(self) -> bool:
        """Whether it can match more than one name."""
        return self.endswith("*")

    @property
    def stem(self) -> str:
        """What every matching name starts with; the name itself where it is one."""
        return self[:-1] if self.is_pattern else str(self)

    def matches(self, repository: str) -> bool:
        """Whether ``repository`` is among what this names."""
        return repository.startswith(self.stem) if self.is_pattern else repository == self

    @property
    def precision(self) -> tuple[bool, int]:
        """Greater for the more exact: a name before any pattern, then the longer stem."""
        return (not self.is_pattern, len(self.stem))

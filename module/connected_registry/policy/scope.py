"""What is replicated: rules that choose repositories, tags and platforms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property, cmp_to_key
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from connected_registry.oci.platform import Platform
from connected_registry.oci.signature import is_companion_tag
from connected_registry.policy.model import ContractModel, Items
from connected_registry.policy.pattern import RepositoryPattern
from connected_registry.policy.version import check_range, in_range, parse_version

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_GLOB = re.compile(r"[A-Za-z0-9._*?\[\]!-]{1,128}")
_NUMBER = re.compile(r"(\d+)", re.ASCII)


def _check_glob(text: str) -> str:
    if not _GLOB.fullmatch(text):
        raise ValueError("must be a tag or a glob of tags such as '1.36', '1.*' or 'v[0-9]*'")
    return text


def _check_platform(text: str) -> str:
    return str(Platform.parse(text))


Glob = Annotated[str, AfterValidator(_check_glob)]
PatternText = Annotated[str, AfterValidator(RepositoryPattern.parse)]
PlatformText = Annotated[str, AfterValidator(_check_platform)]


class RepositoryRule(ContractModel):
    """Which tags of which repositories are wanted, and for which platforms (none: all)."""

    name: PatternText = Field(
        description="a repository; ending in `/*` or `*`, all that start so (needs the catalogue)"
    )
    tags: Items[Glob] = Field(("*",), description="globs of the tags that are wanted")
    exclude_tags: Items[Glob] = Field((), description="globs of tags that are not")
    semver: Annotated[str, AfterValidator(check_range)] | None = Field(
        None, description="only versions in this range, such as `^1.2`"
    )
    newest: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="only so many of what matched, the latest first"
    )
    platforms: Items[PlatformText] = Field((), description="such as `linux/arm64/v8`; empty: all")
    referrers: bool = Field(True, description="whether signatures, SBOMs and the like come along")
    priority: Annotated[int, Field(ge=-1000, le=1000)] = Field(0, description="higher comes first")

    @classmethod
    def parse_argument(cls, text: str) -> Self:
        """A rule from ``name[:TAG[,TAG]]`` as given on a command line. Raises `ValueError`."""
        name, colon, tags = text.partition(":")
        if not colon:
            return cls(name=name)
        return cls(name=name, tags=tuple(tags.split(",")))

    @cached_property
    def pattern(self) -> RepositoryPattern:
        """Its name as a pattern."""
        return RepositoryPattern.parse(self.name)

    @cached_property
    def wanted_platforms(self) -> tuple[Platform, ...]:
        """Its platforms, parsed; empty means all."""
        return tuple(Platform.parse(text) for text in self.platforms)

    @property
    def is_pattern(self) -> bool:
        """Whether it needs the parent's catalogue to know its repositories."""
        return self.pattern.is_pattern

    def matches(self, repository: str) -> bool:
        """Whether ``repository`` is among those it names."""
        return self.pattern.matches(repository)

    def selects(self, tag: str) -> bool:
        """Whether ``tag`` is wanted, as far as its name tells; see `choose_newest`."""
        return self.why_not(tag) is None

    def why_not(self, tag: str) -> str | None:
        """The one reason for which ``tag`` is not wanted, in a sentence; None where it is."""
        if not any(fnmatchcase(tag, glob) for glob in self.tags):
            return f"tag {tag!r} matches none of tags {_quoted(self.tags)} of rule {self.name!r}"
        for glob in self.exclude_tags:
            if fnmatchcase(tag, glob):
                return f"tag {tag!r} is excluded by excludeTags {glob!r} of rule {self.name!r}"
        if self.semver is not None and not in_range(tag, self.semver):
            what = "is not in" if parse_version(tag) is not None else "is no version, so not in"
            return f"tag {tag!r} {what} semver {self.semver!r} of rule {self.name!r}"
        return None

    @cached_property
    def fingerprint(self) -> str:
        """Equal for rules that select the same; changes when any that matters does."""
        known = self.model_dump_json(
            include=set(type(self).model_fields) - {"priority"}, by_alias=True
        )
        return hashlib.sha256(known.encode()).hexdigest()[:16]


def choose_newest(
    rule: RepositoryRule, candidates: Iterable[tuple[str, datetime | None]]
) -> list[str]:
    """The tags of ``candidates`` that ``rule`` selects, newest first, cut to ``rule.newest``.

    A rule with a version range orders by version; one without by the time given, unknown times
    last, and tags of one time by their names with numbers read as numbers. Tags that only carry
    signatures of another image are left out when cutting: they come with that image.
    """
    selected = [(tag, when) for tag, when in candidates if rule.selects(tag)]
    if rule.newest is not None:
        selected = [(tag, when) for tag, when in selected if not is_companion_tag(tag)]
    by_name = sorted(selected, key=lambda item: _natural(item[0]), reverse=True)
    if rule.semver is not None:
        ordered = sorted(by_name, key=cmp_to_key(_compare_versions), reverse=True)
    else:
        ordered = sorted(by_name, key=lambda item: item[1] or _NEVER, reverse=True)
    return [tag for tag, _ in ordered[: rule.newest]]


def _compare_versions(left: tuple[str, object], right: tuple[str, object]) -> int:
    """Both tags were selected by a range, so both are versions."""
    first, second = parse_version(left[0]), parse_version(right[0])
    assert first is not None
    assert second is not None
    return int(first.compare(second))


def _natural(tag: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``1.9`` comes before ``1.10``."""
    return [
        (0, int(part), "") if number else (1, 0, part)
        for number, part in ((i % 2, part) for i, part in enumerate(_NUMBER.split(tag)))
        if part
    ]


def _quoted(globs: Iterable[str]) -> str:
    return ", ".join(repr(glob) for glob in globs)


class Scope(ContractModel):
    """The rules together. The most exact name decides: an exact one, the longest prefix, ``*``."""

    repositories: Items[RepositoryRule] = Field(
        (), description="one rule a repository or pattern; the most exact name decides"
    )

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        seen: set[str] = set()
        for rule in self.repositories:
            if rule.name in seen:
                raise ValueError(f"repository {rule.name!r} is listed twice; keep one rule for it")
            seen.add(rule.name)
        return self

    def rule_for(self, repository: str) -> RepositoryRule | None:
        """The rule that decides for ``repository``, None where it is out of scope."""
        exact = self._exact.get(repository)
        if exact is not None:
            return exact
        return next((rule for rule in self.patterns if rule.matches(repository)), None)

    @cached_property
    def _exact(self) -> dict[str, RepositoryRule]:
        return {str(rule.name): rule for rule in self.repositories if not rule.is_pattern}

    @cached_property
    def patterns(self) -> tuple[RepositoryRule, ...]:
        """The rules whose repositories only the parent's catalogue tells, most exact first."""
        found = [rule for rule in self.repositories if rule.is_pattern]
        return tuple(sorted(found, key=lambda rule: rule.pattern.precision, reverse=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The repositories named exactly, in the order given."""
        return tuple(self._exact)

"""What to do with a change on its way up, given what the parent's tag names by now.

Pure: the digests and the rule go in, a verdict comes out.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag
from connected_registry.policy.sync import Conflicts
from connected_registry.storage.outgoing import Kind

LONGEST_TAG: Final = 128
SHORT: Final = 12
"""Characters of a digest in the name of a conflict tag."""


class Verdict(StrEnum):
    """How to go on."""

    CARRY = "carry"
    """The parent has not changed the tag: do there what was done here."""
    DONE = "done"
    """The parent is so already."""
    YIELD = "yield"
    """The parent keeps its own; what was pushed goes up under a conflict tag."""
    OVERRIDE = "override"
    """What was done here counts; what the parent had stays under a conflict tag."""
    APART = "apart"
    """Each keeps its own; what was pushed goes up under a conflict tag."""

    @property
    def is_conflict(self) -> bool:
        """Whether both sides changed the tag."""
        return self in (Verdict.YIELD, Verdict.OVERRIDE, Verdict.APART)


def judge(
    kind: Kind, ours: Digest, seen: Digest | None, there: Digest | None, rule: Conflicts
) -> Verdict:
    """``seen`` is what the parent last had, ``there`` what it has now; None where it has no tag.

    A tag that is gone at the parent is no conflict: a push puts it back. The deletion of a tag
    that moved meanwhile gives way to the new digest unless the site wins.
    """
    if kind is Kind.UNTAG:
        if there is None:
            return Verdict.DONE
        if there in (ours, seen):
            return Verdict.CARRY
        return Verdict.OVERRIDE if rule is Conflicts.SITE else Verdict.YIELD
    if there == ours:
        return Verdict.DONE
    if there is None or there == seen:
        return Verdict.CARRY
    return {
        Conflicts.PARENT: Verdict.YIELD,
        Conflicts.SITE: Verdict.OVERRIDE,
        Conflicts.KEEP_BOTH: Verdict.APART,
    }[rule]


def conflict_tag(tag: Tag, site: str, digest: Digest) -> Tag:
    """``<tag>-conflict-<site>-<short digest>``, the tag cut where that would be too long."""
    name = re.sub(r"[^a-z0-9_.-]", "-", site.lower())[:40].strip("-.") or "site"
    ending = f"-conflict-{name}-{digest.encoded[:SHORT]}"
    return Tag.parse(tag[: LONGEST_TAG - len(ending)] + ending)

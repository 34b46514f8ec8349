"""Whether something is garbage, or the one reason for which it stays."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session

from connected_registry.oci.digest import Digest
from connected_registry.storage import candidates
from connected_registry.storage.attention import Attention
from connected_registry.storage.candidates import Content, Key, ShownBlob, ShownManifest
from connected_registry.storage.collected import Graces, Kept
from connected_registry.storage.wanted import Wanted


@dataclass(slots=True)
class Judge:
    """Judges for one collection. None is the verdict on garbage.

    ``urgent``: somebody said that it is to go, so how lately it was used does not matter.
    """

    now: datetime
    graces: Graces
    protected: frozenset[str]
    attention: Attention
    urgent: bool = False
    gone_manifests: set[Key] = field(default_factory=set)
    gone_blobs: set[Key] = field(default_factory=set)
    """What a dry run would have removed by now."""
    touched: set[str] = field(default_factory=set)
    """Digests of that and of what it named: of all else the plain answer is right."""

    def manifest(self, session: Session, each: ShownManifest) -> Kept | None:
        """Of a manifest in its repository."""
        if each.tagged:
            return Kept.TAGGED
        if each.inside or each.refers:
            kept = Kept.PART if each.inside else Kept.REFERS
            if each.digest not in self.touched:
                return kept
            found = candidates.holders(session, each.repository_id, each.digest)
            if any((each.repository_id, digest) not in self.gone_manifests for digest in found):
                return kept
        return self._unnamed(each.digest, each.used_at, self.graces.manifests)

    def blob(self, session: Session, each: ShownBlob) -> Kept | None:
        """Of a blob in its repository."""
        if each.named:
            if each.digest not in self.touched:
                return Kept.NAMED
            found = candidates.naming(session, each.repository_id, each.digest)
            if any((each.repository_id, digest) not in self.gone_manifests for digest in found):
                return Kept.NAMED
        return self._unnamed(each.digest, each.linked_at, self.graces.blobs)

    def content(self, session: Session, each: Content) -> Kept | None:
        """Of content that the database knows."""
        if each.shown:
            if each.digest not in self.touched:
                return Kept.SHOWN
            for kind, number in candidates.showing(session, each.digest):
                gone = self.gone_manifests if kind == "manifest" else self.gone_blobs
                if (number, each.digest) not in gone:
                    return Kept.SHOWN
        return self._unshown(each.digest, each.created_at, self.graces.files)

    def file(self, digest: Digest, changed_at: datetime, wanted: Wanted) -> Kept | None:
        """Of a file that the database does not know."""
        if digest in wanted:
            return Kept.WANTED
        grace = self.graces.fetched if wanted.pending else self.graces.files
        return self._unshown(digest, changed_at, grace)

    def download(self, digest: Digest, changed_at: datetime, wanted: Wanted) -> Kept | None:
        """Of an unfinished download."""
        if digest in wanted:
            return Kept.WANTED
        return Kept.RECENT if self._recent(changed_at, self.graces.fetched) else None

    def _unnamed(self, digest: Digest, used_at: datetime, grace: timedelta) -> Kept | None:
        if digest in self.protected:
            return Kept.OUTGOING
        if self._recent(used_at, grace):
            return Kept.RECENT
        return Kept.IN_USE if not self.urgent and self.attention.noted(digest) else None

    def _unshown(self, digest: Digest, used_at: datetime, grace: timedelta) -> Kept | None:
        if digest in self.protected:
            return Kept.OUTGOING
        if self._recent(used_at, grace):
            return Kept.RECENT
        return Kept.IN_USE if self.attention.noted(digest) else None

    def _recent(self, used_at: datetime, grace: timedelta) -> bool:
        """Whether it is no longer ago than ``grace``; the future counts as now."""
        return not self.urgent and used_at > self.now - grace

"""What of a bundled image belongs at a site: by its manifests alone, as a sync would choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connected_registry.bundle.contents import BundledImage
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import Kind, Manifest, select_children
from connected_registry.oci.reference import Tag
from connected_registry.oci.signature import subject_of_tag
from connected_registry.policy.scope import RepositoryRule

MAX_DEPTH: Final = 8


class Unfit(Exception):
    """An image that does not go in; ``reason`` is a word, the text a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(slots=True)
class Assembled:
    """Everything that becomes visible together."""

    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    """Children before their index, referrers after the image."""
    blobs: dict[Digest, int] = field(default_factory=dict)
    companions: dict[Tag, Digest] = field(default_factory=dict)


def assemble(
    image: BundledImage, manifests: Mapping[Digest, Manifest], rule: RepositoryRule | None
) -> Assembled:
    """Follow the image's manifests from its root. Raises `Unfit`."""
    found = Assembled()
    _add(found, manifests, image.digest, rule, depth=0)
    if rule is None or rule.referrers:
        _add_referrers(found, manifests, image)
    return found


def _add(
    found: Assembled,
    manifests: Mapping[Digest, Manifest],
    digest: Digest,
    rule: RepositoryRule | None,
    depth: int,
) -> None:
    if digest in found.manifests:
        return
    manifest = manifests.get(digest)
    if manifest is None:
        raise Unfit("incomplete", f"manifest {digest} of it is not in the bundle")
    if depth > MAX_DEPTH:
        raise Unfit("invalid", f"its indexes are nested more than {MAX_DEPTH} deep")
    if manifest.kind is Kind.INDEX:
        platforms = rule.wanted_platforms if rule is not None else ()
        children = select_children(manifest, platforms)
        if manifest.children and not children:
            raise Unfit(
                "platform", f"it has none of the platforms {', '.join(map(str, platforms))}"
            )
        here = [child for child in children if child.digest in manifests]
        absent = [child for child in children if child.digest not in manifests]
        if absent and (platforms or not here):
            raise Unfit(
                "incomplete",
                f"{absent[0].platform or absent[0].digest} of it is not in the bundle: export one "
                "that has it",
            )
        for child in here:
            _add(found, manifests, child.digest, rule, depth + 1)
    for blob in (*manifest.blobs, *manifest.embedded):
        if found.blobs.setdefault(blob.digest, blob.size) != blob.size:
            raise Unfit("invalid", f"{blob.digest} is said to have two sizes")
    found.manifests[digest] = manifest


def _add_referrers(
    found: Assembled, manifests: Mapping[Digest, Manifest], image: BundledImage
) -> None:
    """Add manifests about the image, and about those, until there are no more."""
    waiting = dict(manifests)
    tags = {companion.tag: companion.digest for companion in image.companions}
    while True:
        roots = [
            digest
            for digest, manifest in waiting.items()
            if digest not in found.manifests
            and manifest.subject is not None
            and manifest.subject.digest in found.manifests
        ]
        for tag, digest in tags.items():
            subject = subject_of_tag(tag)
            if tag not in found.companions and subject is not None and subject in found.manifests:
                found.companions[tag] = digest
                roots.append(digest)
        if not roots:
            return
        for root in roots:
            _add_whole(found, manifests, root, depth=0)


def _add_whole(
    found: Assembled, manifests: Mapping[Digest, Manifest], digest: Digest, depth: int
) -> None:
    """A referrer with all of it that is there: lists of referrers may name what is deleted."""
    manifest = manifests.get(digest)
    if manifest is None or digest in found.manifests or depth > MAX_DEPTH:
        return
    for child in manifest.children if manifest.kind is Kind.INDEX else ():
        _add_whole(found, manifests, child.digest, depth + 1)
    for blob in (*manifest.blobs, *manifest.embedded):
        found.blobs.setdefault(blob.digest, blob.size)
    found.manifests[digest] = manifest

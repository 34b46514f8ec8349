"""Tags that are not versions of an image but carry signatures and the like of another one.

Two conventions: the referrers fallback tag of the OCI distribution specification,
``sha256-<hex>``, and cosign's, which appends ``.sig``, ``.att`` or ``.sbom``.
"""

from __future__ import annotations

import re
from typing import Final

from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import Tag

SUFFIXES: Final = (".sig", ".att", ".sbom")
"""What cosign appends: a signature, an attestation, a bill of materials."""

_TAG = re.compile(r"(?P<algorithm>sha256|sha512)-(?P<encoded>[a-f0-9]{64})(?:\.(?:sig|att|sbom))?")


def fallback_tag(digest: Digest) -> Tag:
    """The tag under which referrers of ``digest`` are listed for want of a referrers API.

    The encoded part is cut to 64 characters, as the specification says, so two sha512 digests may
    share one.
    """
    return Tag(f"{digest.algorithm[:32]}-{digest.encoded[:64]}")


def companion_tags(digest: Digest) -> tuple[Tag, ...]:
    """Every tag that belongs to ``digest`` by its name: the fallback tag first, then cosign's."""
    fallback = fallback_tag(digest)
    return (fallback, *(Tag(fallback + suffix) for suffix in SUFFIXES))


def is_companion_tag(tag: str) -> bool:
    """Whether ``tag`` belongs to some digest by its name."""
    return _TAG.fullmatch(tag) is not None


def subject_of_tag(tag: str) -> Digest | None:
    """The digest that ``tag`` belongs to; None for other tags and for a cut sha512 digest."""
    found = _TAG.fullmatch(tag)
    if found is None or found["algorithm"] != "sha256":
        return None
    return Digest(f"sha256:{found['encoded']}")

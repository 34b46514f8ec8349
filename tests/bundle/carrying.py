"""Two folders of replicas and the bundles that are carried between them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from connected_registry.bundle.bring import Importer, Rules
from connected_registry.bundle.export import Exporter, Written
from connected_registry.bundle.inventory import Inventory, Receipt
from connected_registry.bundle.opened import OpenBundle
from connected_registry.bundle.seal import SealKey
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.storage.content import ImageCommit
from peers.images import Image
from peers.site import Site


def push(site: Site, image: Image, repository: str, *tags: str) -> None:
    """Take an image with all below it as if clients had pushed it."""
    name = RepositoryName(repository)
    for blob in image.all_blobs().values():
        site.registry.link_blob(name, site.blobs.put(blob.data), blob.size)
    for each in image.everything():
        names = [*each.extra_tags, *(tags if each is image else ())]
        site.registry.put_manifest(
            name,
            Digest(each.digest),
            each.manifest.media_type,
            each.manifest.data,
            tags=[Tag(tag) for tag in names],
        )


def synced(site: Site, image: Image, repository: str, tag: str, when: datetime) -> None:
    """Take an image of one platform as if a sync had brought it."""
    for blob in image.blobs:
        site.blobs.put(blob.data)
    root = Digest(image.digest)
    site.registry.commit_image(
        ImageCommit(
            RepositoryName(repository),
            (Tag(tag),),
            root,
            ((root, image.manifest.media_type, image.manifest.data),),
            tuple((Digest(blob.digest), blob.size) for blob in image.blobs),
            confirmed_at=when,
        )
    )


def export(
    site: Site,
    output: Path,
    *,
    lacking: Inventory | None = None,
    volume_size: int | None = None,
    key: SealKey | None = None,
) -> Written:
    """Write what the site's scope selects."""
    exporter = Exporter(site.registry, site.blobs)
    planned = exporter.plan(site.scope, lacking, volume_size)
    return exporter.write(planned, output, key, lambda _done, _total: None)


def bring(
    site: Site,
    *files: Path,
    everything: bool = False,
    key: SealKey | None = None,
    stop: Callable[[], bool] = lambda: False,
    admit: Callable[[str, int], str | None] = lambda _image, _size: None,
) -> Receipt:
    """Import into a site under its scope and mode."""
    importer = Importer(
        site.registry,
        site.blobs,
        site.ledger,
        Rules(site.scope, site.mode, everything),
        clock=site.clock,
        stop=stop,
        admit=admit,
    )
    with OpenBundle.open(files, key) as bundle:
        return importer.run(bundle, checked=key is not None)


def take(site: Site) -> Inventory:
    """The site's inventory."""
    return Inventory.take(site.registry, site="plant", scope=site.scope, now=site.clock())


def reasons(receipt: Receipt) -> dict[str, str]:
    """Why each image was refused."""
    return {each.image: each.reason for each in receipt.refused}


def held(site: Site, *repositories: str) -> dict[str, tuple[dict[str, str], set[str]]]:
    """Everything clients see: tags and manifests of each repository."""
    return {name: (site.tags(name), site.manifests(name)) for name in repositories}

"""Manifests: what is read from them, and which are refused with what sentence."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.errors import ManifestInvalid, ManifestTooLarge, RegistryError
from connected_registry.oci import media_type as types
from connected_registry.oci.digest import Digest
from connected_registry.oci.manifest import MAX_DESCRIPTORS, MAX_MANIFEST, Kind, Manifest

CONFIG = Digest.of(b"config")
LAYER = Digest.of(b"layer")
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(digest: str = LAYER, media_type: str = TAR, **more: Any) -> dict[str, Any]:
    """A descriptor as a client writes it."""
    return {"mediaType": media_type, "digest": digest, "size": 5, **more}


IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": types.OCI_MANIFEST,
    "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
    "layers": [descriptor()],
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": types.OCI_INDEX,
    "manifests": [
        descriptor(media_type=types.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    ],
}


def parse(document: Any, media_type: str = types.OCI_MANIFEST) -> Manifest:
    """Parse ``document`` written as JSON."""
    return Manifest.parse(json.dumps(document).encode(), media_type)


def test_an_image_is_its_config_and_layers() -> None:
    """Bytes, digest and parts of an image manifest are all there."""
    content = json.dumps(IMAGE, indent=3).encode()
    manifest = Manifest.parse(content, types.OCI_MANIFEST)
    assert manifest.content == content
    assert manifest.digest == Digest.of(content)
    assert manifest.size == len(content)
    assert manifest.kind is Kind.IMAGE
    assert [blob.digest for blob in manifest.blobs] == [CONFIG, LAYER]
    assert manifest.children == ()
    assert manifest.config is not None
    assert manifest.config.size == 5


def test_an_index_is_its_children() -> None:
    """An index has children with their platforms and no blobs."""
    manifest = parse(INDEX, types.OCI_INDEX)
    assert manifest.kind is Kind.INDEX
    assert [str(child.platform) for child in manifest.children] == ["linux/amd64"]
    assert manifest.blobs == ()


@pytest.mark.parametrize(
    ("document", "media_type", "kind"),
    [
        (IMAGE, types.DOCKER_MANIFEST, Kind.IMAGE),
        (INDEX, types.DOCKER_LIST, Kind.INDEX),
        (INDEX | {"manifests": []}, types.OCI_INDEX, Kind.INDEX),
        (INDEX | {"manifests": None}, types.OCI_INDEX, Kind.INDEX),
        (IMAGE | {"layers": []}, types.OCI_MANIFEST, Kind.IMAGE),
        (IMAGE | {"layers": None}, types.OCI_MANIFEST, Kind.IMAGE),
        (IMAGE | {"annotations": None, "subject": None}, types.OCI_MANIFEST, Kind.IMAGE),
        (IMAGE | {"custom": {"a": [1.5, -1, None, True]}}, types.OCI_MANIFEST, Kind.IMAGE),
        ({"anything": 1}, "application/vnd.example.thing+json", Kind.OTHER),
    ],
)
def test_forms_that_registries_must_take(
    document: dict[str, Any], media_type: str, kind: Kind
) -> None:
    """Docker's forms, empty lists, extra fields and unknown types are all taken."""
    manifest = parse({**document, "mediaType": media_type}, media_type)
    assert (manifest.kind, manifest.media_type) == (kind, media_type)


def test_a_withdrawn_artifact_manifest_names_its_blobs() -> None:
    """An artifact manifest, which some registries still hold, has its blobs and subject read."""
    document = {
        "mediaType": types.OCI_ARTIFACT,
        "artifactType": "application/vnd.example.sbom",
        "blobs": [descriptor()],
        "subject": descriptor(CONFIG, types.OCI_MANIFEST),
    }
    manifest = parse(document, types.OCI_ARTIFACT)
    assert manifest.kind is Kind.OTHER
    assert [blob.digest for blob in manifest.blobs] == [LAYER]
    assert manifest.subject is not None
    assert manifest.subject.digest == CONFIG
    assert manifest.artifact_type == "application/vnd.example.sbom"


@pytest.mark.parametrize(
    ("document", "media_type", "artifact_type"),
    [
        (IMAGE, types.OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
        (IMAGE | {"artifactType": ""}, types.OCI_MANIFEST, IMAGE["config"]["mediaType"]),
        (IMAGE | {"artifactType": "a/b"}, types.OCI_MANIFEST, "a/b"),
        (INDEX, types.OCI_INDEX, None),
        (INDEX | {"artifactType": "a/b"}, types.OCI_INDEX, "a/b"),
    ],
)
def test_the_artifact_type_falls_back_to_the_config(
    document: dict[str, Any], media_type: str, artifact_type: str | None
) -> None:
    """An image without an artifact type has its config's; an index without one has none."""
    assert parse(document, media_type).artifact_type == artifact_type


@pytest.mark.parametrize(
    ("media_type", "own", "expected"),
    [
        (types.OCI_MANIFEST + "; charset=utf-8", types.OCI_MANIFEST, types.OCI_MANIFEST),
        (types.OCI_MANIFEST, None, types.OCI_MANIFEST),
        ("", types.DOCKER_MANIFEST, types.DOCKER_MANIFEST),
        ("", None, types.OCI_MANIFEST),
        ("application/json", types.OCI_MANIFEST, types.OCI_MANIFEST),
        ("application/octet-stream", None, types.OCI_MANIFEST),
    ],
)
def test_the_type_is_what_was_sent_or_else_what_the_document_says(
    media_type: str, own: str | None, expected: str
) -> None:
    """Parameters are ignored, and a type that says nothing leaves it to the document."""
    assert parse({**IMAGE, "mediaType": own}, media_type).media_type == expected


def test_an_untyped_index_is_known_by_its_shape() -> None:
    """Where neither header nor document names a type, an index is one by its manifests."""
    assert parse(INDEX | {"mediaType": None}, "").media_type == types.OCI_INDEX


def test_only_what_a_registry_must_hold_is_required() -> None:
    """Foreign layers and embedded content are set apart, and a digest counts once."""
    embedded = descriptor(
        Digest.of(b"{}"), types.EMPTY, size=2, data=base64.b64encode(b"{}").decode()
    )
    foreign = descriptor(
        Digest.of(b"foreign"), FOREIGN, urls=["http://169.254.169.254/x", "file:///"]
    )
    manifest = parse(
        IMAGE | {"config": embedded, "layers": [descriptor(), foreign, descriptor(), embedded]}
    )
    assert [blob.digest for blob in manifest.blobs] == [LAYER]
    assert [blob.data for blob in manifest.embedded] == [b"{}"]
    assert [blob.urls for blob in manifest.foreign] == [("http://169.254.169.254/x", "file:///")]
    assert len(manifest.referenced) == 3
    assert len(manifest.layers) == 4


@pytest.mark.parametrize(
    ("text", "created"),
    [
        ("2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00.123456789+02:00", datetime(2024, 5, 1, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2024-05-01T10:00:00", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_time_of_creation_is_optional(text: str, created: datetime | None) -> None:
    """The annotation is read where it is a full time, and never an error."""
    document = IMAGE | {"annotations": {"org.opencontainers.image.created": text}}
    assert parse(document).created == created


def with_change(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """``document`` with the value at the dotted ``path`` set, or removed where it is ``...``."""
    changed = deepcopy(document)
    *parents, last = path.split(".")
    place: Any = changed
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("schemaVersion", 1, "schemaVersion is 1; it must be 2"),
        ("schemaVersion", 2.0, "schemaVersion is 2.0; it must be 2"),
        ("schemaVersion", "2", "schemaVersion is '2'"),
        ("schemaVersion", ..., "schemaVersion is None"),
        ("mediaType", types.OCI_INDEX, "mediaType is .* but the manifest was sent as"),
        ("mediaType", 5, "mediaType is not a string"),
        ("mediaType", "a\n", "mediaType is not printable ASCII"),
        ("config", ..., "config is missing"),
        ("config", None, "config is missing"),
        ("config", [], "config is not an object"),
        ("layers", ..., "layers is missing"),
        ("layers", {}, "layers is not an array"),
        ("layers.0", "x", r"layers\[0\] is not an object"),
        ("layers.0.mediaType", ..., r"layers\[0\].mediaType is missing"),
        ("layers.0.mediaType", "x" * 300, "at most 255"),
        ("layers.0.digest", ..., r"layers\[0\].digest is missing"),
        ("layers.0.digest", "sha256:../../etc/passwd", "is not a sha256 or sha512 digest"),
        ("layers.0.digest", "md5:" + "0" * 32, "is not a sha256 or sha512 digest"),
        ("layers.0.digest", "blake3:" + "0" * 64, "is not a sha256 or sha512 digest"),
        ("layers.0.size", ..., "size is not a whole number"),
        ("layers.0.size", -1, "size is not a whole number"),
        ("layers.0.size", 5.0, "size is not a whole number"),
        ("layers.0.size", "5", "size is not a whole number"),
        ("layers.0.size", True, "size is not a whole number"),
        ("layers.0.size", 2**63, "integer out of range"),
        ("layers.0.annotations", [], r"layers\[0\].annotations is not an object"),
        ("layers.0.annotations", {"a": 1}, r"annotations\['a'\] is not a string"),
        ("layers.0.artifactType", 1, "artifactType is not a string"),
        ("layers.0.urls", "http://x", "urls is not an array of strings"),
        ("layers.0.urls", [1], "urls is not an array of strings"),
        ("layers.0.platform", "linux", "platform is not an object"),
        ("layers.0.platform", {"os": 1}, "platform has a value that is not a string"),
        ("layers.0.data", 1, "data is not a string"),
        ("layers.0.data", "*", "data is not base64"),
        ("layers.0.data", "é", "data is not base64"),
        ("layers.0.data", "aGVsbG8=", "data is not the content"),
        ("annotations", "x", "annotations is not an object"),
        ("annotations", {"a": None}, r"annotations\['a'\] is not a string"),
        ("artifactType", {}, "artifactType is not a string"),
        ("subject", "x", "subject is not an object"),
        (
            "subject",
            {"mediaType": "a/b", "size": 1, "digest": "garbage"},
            "subject.digest 'garbage'",
        ),
        ("manifests", [], "both an index and an image"),
    ],
)
def test_a_wrong_field_is_named(path: str, value: Any, sentence: str) -> None:
    """A manifest with one thing wrong is refused with a sentence that names it."""
    with pytest.raises(ManifestInvalid, match=sentence) as caught:
        parse(with_change(IMAGE, path, value))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (INDEX | {"layers": []}, "both an index and an image"),
        (INDEX | {"config": {}}, "both an index and an image"),
        ({"schemaVersion": 2}, "manifests is missing"),
        (INDEX | {"manifests": "x"}, "manifests is not an array"),
        (INDEX | {"schemaVersion": 1}, "schemaVersion is 1"),
    ],
)
def test_a_wrong_index_is_refused(document: dict[str, Any], sentence: str) -> None:
    """An index that is malformed, or an image as well, is refused."""
    with pytest.raises(ManifestInvalid, match=sentence):
        parse(document, types.OCI_INDEX)


def test_a_document_of_two_natures_is_refused_whatever_its_type() -> None:
    """An unknown type is no way around the rule that a manifest is one thing only."""
    with pytest.raises(ManifestInvalid, match="both an index and an image"):
        parse({"manifests": [], "config": {}}, "application/vnd.example+json")


@pytest.mark.parametrize(
    "media_type",
    ["text/html", "application", "image/png", "*/*", "application/" + "x" * 5000, "a\r\nb: c"],
)
def test_what_cannot_be_a_manifest_type_is_refused(media_type: str) -> None:
    """A Content-Type no manifest has is refused before the body is looked at."""
    with pytest.raises(ManifestInvalid, match="is not a media type of a manifest") as caught:
        Manifest.parse(b"", media_type)
    assert len(caught.value.text) < 300


@pytest.mark.parametrize("media_type", sorted(types.SCHEMA1))
def test_schema_1_is_refused(media_type: str) -> None:
    """Docker's first form is refused by name, from header and document alike."""
    with pytest.raises(ManifestInvalid, match="schema 1"):
        parse({"schemaVersion": 1}, media_type)
    with pytest.raises(ManifestInvalid, match="schema 1"):
        parse({"schemaVersion": 1, "mediaType": media_type}, "")


@pytest.mark.parametrize("document", [{}, {"schemaVersion": 2}, {"schemaVersion": 1, "config": 1}])
def test_a_document_without_any_type_is_refused(document: dict[str, Any]) -> None:
    """Where nothing tells what it is, it is not taken."""
    with pytest.raises(ManifestInvalid, match="says nowhere what it is"):
        parse(document, "")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'"x"', b"{}"])
def test_bodies_that_are_no_manifest_are_refused(content: bytes) -> None:
    """Empty and trivial bodies are refused."""
    with pytest.raises(ManifestInvalid):
        Manifest.parse(content, types.OCI_MANIFEST)


@pytest.mark.parametrize("size", [0, 2**63 - 1])
def test_sizes_up_to_the_bounds_are_taken(size: int) -> None:
    """An empty layer and the largest countable one are both possible."""
    assert parse(with_change(IMAGE, "layers.0.size", size)).layers[0].size == size


def padded(size: int) -> bytes:
    """An image manifest of exactly ``size`` bytes."""
    content = json.dumps(IMAGE).encode()
    return content + b" " * (size - len(content))


def test_the_size_limit_is_exact() -> None:
    """Four mebibytes are taken; one byte more is answered with 413."""
    assert parse_size(MAX_MANIFEST) == MAX_MANIFEST == 4_194_304
    with pytest.raises(ManifestTooLarge) as caught:
        parse_size(MAX_MANIFEST + 1)
    assert caught.value.status == 413


def parse_size(size: int) -> int:
    """Parse a manifest of ``size`` bytes and tell its size."""
    return Manifest.parse(padded(size), types.OCI_MANIFEST).size


def test_many_annotations_are_taken() -> None:
    """The conformance suite's large manifest, 390 annotations of 10 kB, is read."""
    annotations = {f"key{number}": "x" * 10_000 for number in range(390)}
    assert parse(IMAGE | {"annotations": annotations}).annotations == annotations


@pytest.mark.parametrize(
    ("key", "media_type"), [("layers", types.OCI_MANIFEST), ("manifests", types.OCI_INDEX)]
)
def test_the_number_of_descriptors_is_bounded(key: str, media_type: str) -> None:
    """As many descriptors as allowed are read, one more is refused."""
    document = IMAGE if key == "layers" else INDEX
    most = parse(document | {key: [descriptor()] * MAX_DESCRIPTORS}, media_type)
    assert len(most.layers or most.children) == MAX_DESCRIPTORS
    with pytest.raises(ManifestInvalid, match=f"{key} has {MAX_DESCRIPTORS + 1} entries"):
        parse(document | {key: [{}] * (MAX_DESCRIPTORS + 1)}, media_type)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "layers.0",
        "annotations",
        "subject",
        "artifactType",
        *(
            f"{where}.{key}"
            for where in ("config", "layers.0")
            for key in ("mediaType", "digest", "size", "data", "urls", "annotations", "platform")
        ),
    ]
)


@given(PATHS, JSON, st.sampled_from([types.OCI_MANIFEST, types.OCI_INDEX, types.ORAS_ARTIFACT, ""]))
def test_no_value_anywhere_breaks_the_parser(path: str, value: Any, media_type: str) -> None:
    """Any JSON value in any place gives a manifest or one of the registry's errors."""
    content = json.dumps(with_change(IMAGE, path, value)).encode("utf-8", "replace")
    try:
        assert Manifest.parse(content, media_type).content == content
    except RegistryError as error:
        assert error.status in (400, 413)  # noqa: PT017 - either outcome is right

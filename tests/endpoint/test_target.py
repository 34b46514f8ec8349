from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.endpoint.target import MAX_ADDRESS, Resource, Target, parse_target
from connected_registry.errors import (
    AddressTooLong,
    AddressUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    NameInvalid,
    RegistryError,
    TagInvalid,
)
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag

DIGEST = Digest.of(b"something")
WORDS = ("blobs", "manifests", "tags", "uploads", "referrers", "list", "v2", "a", "team-x")
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(
    lambda parts: RepositoryName("/".join(parts))
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True).map(Tag)


@given(NAMES, TAGS)
def test_names_made_of_the_words_of_the_protocol_are_read_from_the_right(
    name: RepositoryName, tag: Tag
) -> None:
    """Whatever words a repository's name has, each of its addresses names it and nothing else."""
    session = "3b241101-e2bb-4255-8caf-4136c566a962"
    expected = {
        f"/v2/{name}/tags/list": Target(Resource.TAGS, name),
        f"/v2/{name}/manifests/{tag}": Target(Resource.MANIFEST, name, tag),
        f"/v2/{name}/manifests/{DIGEST}": Target(Resource.MANIFEST, name, DIGEST),
        f"/v2/{name}/blobs/{DIGEST}": Target(Resource.BLOB, name, DIGEST),
        f"/v2/{name}/referrers/{DIGEST}": Target(Resource.REFERRERS, name, DIGEST),
        f"/v2/{name}/blobs/uploads/": Target(Resource.UPLOADS, name),
        f"/v2/{name}/blobs/uploads": Target(Resource.UPLOADS, name),
        f"/v2/{name}/blobs/uploads/{session}": Target(Resource.UPLOAD, name, session=session),
        f"/acr/v1/{name}": Target(Resource.ACR_REPOSITORY, name),
        f"/acr/v1/{name}/_tags": Target(Resource.ACR_TAGS, name),
        f"/acr/v1/{name}/_tags/{tag}": Target(Resource.ACR_TAG, name, tag),
        f"/acr/v1/{name}/_manifests": Target(Resource.ACR_MANIFESTS, name),
        f"/acr/v1/{name}/_manifests/{DIGEST}": Target(Resource.ACR_MANIFEST, name, DIGEST),
    }

    assert expected == {path: parse_target(path.encode()) for path in expected}


def test_the_status_page_is_beside_everything_that_a_repository_can_be_called() -> None:
    """No name begins with an underscore, and the API keeps its own roots."""
    assert parse_target(b"/") == Target(Resource.PAGE)
    assert parse_target(b"/_/sign-in") == Target(Resource.PAGE_SIGN_IN)
    assert parse_target(b"/_/sign-out") == Target(Resource.PAGE_SIGN_OUT)
    assert parse_target(b"/_/do/sync") == Target(Resource.PAGE_DEED, part="sync")
    assert parse_target(b"/_/static/page.css") == Target(Resource.PAGE_FILE, part="page.css")


@given(NAMES, TAGS)
def test_percent_encoding_is_undone_once(name: RepositoryName, tag: Tag) -> None:
    """An encoded path names what the plain one does; one encoded twice names nothing."""
    path = f"/v2/{name}/manifests/{tag}"
    once = "/v2/" + "".join(f"%{byte:02X}" for byte in path.removeprefix("/v2/").encode())

    assert parse_target(once.encode()) == parse_target(path.encode())
    with pytest.raises(RegistryError):
        parse_target(quote(once, safe="/").encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_target_or_an_error_of_ours(path: bytes) -> None:
    """Whatever the path, nothing else is raised, and what comes out follows the grammar."""
    try:
        target = parse_target(b"/v2/" + path)
    except RegistryError:
        return
    if target.repository is not None:
        assert RepositoryName.parse(target.repository) == target.repository


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/v2", Resource.VERSION),
        ("/v2/", Resource.VERSION),
        ("/v2/_catalog", Resource.CATALOG),
        ("/acr/v1/_catalog", Resource.ACR_CATALOG),
        ("/acr/oauth2/token", Resource.TOKEN),
        ("/oauth2/token", Resource.TOKEN),
        ("/oauth2/exchange", Resource.EXCHANGE),
        ("/healthz", Resource.HEALTH),
        ("http://registry.example/v2/", Resource.VERSION),
    ],
)
def test_fixed_addresses(path: str, resource: Resource) -> None:
    """Addresses without a repository, also in absolute form."""
    assert parse_target(path.encode()).resource is resource


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/_", AddressUnknown),
        ("/_/", AddressUnknown),
        ("/_/static/", AddressUnknown),
        ("/_/static/../page.css", AddressUnknown),
        ("/_/static/%2e%2e%2fpage.css", AddressUnknown),
        ("/_/do/SYNC", AddressUnknown),
        ("/V2/", AddressUnknown),
        ("//v2//", AddressUnknown),
        ("/v2//", AddressUnknown),
        ("/v2/app", AddressUnknown),
        ("/v2/_oci/ext/discover", AddressUnknown),
        ("/v2/Foo/Bar/manifests/1", NameInvalid),
        ("/v2/a/../b/manifests/1", NameInvalid),
        ("/v2/./a/manifests/1", NameInvalid),
        ("/v2/a//b/manifests/1", NameInvalid),
        ("/v2/a/%2e%2e/b/manifests/1", NameInvalid),
        ("/v2//manifests/1", NameInvalid),
        ("/v2/manifests/1", NameInvalid),
        ("/v2/a%00b/manifests/1", NameInvalid),
        ("/v2/a%0d%0ab/manifests/1", NameInvalid),
        ("/v2/a%e2%80%8fb/manifests/1", NameInvalid),
        ("/v2/a%ff/manifests/1", NameInvalid),
        ("/v2/_catalog/tags/list", NameInvalid),
        ("/v2/a/_oci/b/tags/list", NameInvalid),
        ("/v2/a/.b/tags/list", NameInvalid),
        ("/v2/a/-b/tags/list", NameInvalid),
        ("/v2/a/b_/tags/list", NameInvalid),
        ("/v2/a___b/tags/list", NameInvalid),
        ("/v2/a;x=1/tags/list", NameInvalid),
        (f"/v2/{'a' * 300}/tags/list", NameInvalid),
        ("/v2/a/manifests/", TagInvalid),
        ("/v2/a/manifests/.tag", TagInvalid),
        ("/v2/a/manifests/-tag", TagInvalid),
        (f"/v2/a/manifests/{'t' * 129}", TagInvalid),
        ("/v2/a/manifests/sha256:baddigeststring", DigestInvalid),
        ("/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", DigestInvalid),
        ("/v2/a/blobs/sha256:..%2f..%2fetc%2fpasswd", DigestInvalid),
        ("/v2/a/blobs/sha256:../../etc/passwd", DigestInvalid),
        ("/v2/a/blobs/sha256:%2e%2e", DigestInvalid),
        ("/v2/a/blobs/latest", DigestInvalid),
        ("/v2/a/referrers/latest", DigestInvalid),
        ("/v2/a/blobs/uploads/..", BlobUploadUnknown),
        (f"/v2/a/blobs/uploads/{'x' * 5000}", BlobUploadUnknown),
        (f"/v2/{'a' * MAX_ADDRESS}/tags/list", AddressTooLong),
    ],
)
def test_what_names_nothing(path: str, error: type[RegistryError]) -> None:
    """Each malformed address gets the code of the part that is wrong, and is never tidied."""
    with pytest.raises(error):
        parse_target(path.encode())


@pytest.mark.parametrize("name", ["a---b", "a__b", "a.b", "0", "a/b-c/d"])
def test_names_at_the_edge_of_the_grammar(name: str) -> None:
    """What the grammar allows is allowed."""
    assert parse_target(f"/v2/{name}/tags/list".encode()).repository == name

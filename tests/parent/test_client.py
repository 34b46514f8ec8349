"""Manifests, and real registries of every kind of authentication."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from connected_registry.errors import ParentLied, ParentNotFound, ParentOffline, ParentUnauthorized
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag
from connected_registry.parent.client import ParentClient
from peers.clients import client_of
from peers.distribution import Distribution
from peers.images import DOCKER_MANIFEST, make_image, make_platforms, make_signature
from peers.scripted import Reply, ScriptedRegistry
from peers.token_server import TokenServer

APP = RepositoryName("team/app")
LATEST = Tag("latest")
INDEX = make_platforms(size=200_000)
ADA = ("ada", "lace")


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """A registry that holds a multi-platform image."""
    with ScriptedRegistry() as registry:
        registry.hold(INDEX, APP, LATEST)
        yield registry


async def test_head_tells_digest_type_and_size(registry: ScriptedRegistry) -> None:
    """One request without a body tells what a tag names."""
    async with client_of(registry) as client:
        found = await client.head_manifest(APP, LATEST)
        assert client.bytes_received == 0
    assert found.digest == INDEX.digest
    assert found.media_type == INDEX.manifest.media_type
    assert found.size == INDEX.manifest.size


async def test_head_without_a_digest(registry: ScriptedRegistry) -> None:
    """A registry that does not tell the digest, or tells nonsense, leaves it open."""
    path = f"/v2/{APP}/manifests/{LATEST}"
    registry.on(path, Reply(200, {"Docker-Content-Digest": "sha256:xyz"}), method="HEAD")
    async with client_of(registry) as client:
        assert (await client.head_manifest(APP, LATEST)).digest is None


async def test_head_of_a_digest_that_is_answered_with_another(registry: ScriptedRegistry) -> None:
    """A digest names itself and nothing else."""
    path = f"/v2/{APP}/manifests/{INDEX.digest}"
    other = {"Docker-Content-Digest": make_image("other").digest}
    registry.on(path, Reply(200, other), method="HEAD")
    async with client_of(registry) as client:
        with pytest.raises(ParentLied):
            await client.head_manifest(APP, Digest(INDEX.digest))


async def test_manifest_bytes_come_as_they_are(registry: ScriptedRegistry) -> None:
    """Content, type without parameters, and digest."""
    path = f"/v2/{APP}/manifests/{LATEST}"
    headers = {"Content-Type": f"{DOCKER_MANIFEST}; charset=utf-8"}
    registry.on(path, Reply(200, headers, b'{ "a" :1}'))
    async with client_of(registry) as client:
        fetched = await client.get_manifest(APP, LATEST)
    assert fetched.content == b'{ "a" :1}'
    assert fetched.media_type == DOCKER_MANIFEST
    assert fetched.digest == Digest.of(b'{ "a" :1}')


async def test_a_manifest_that_is_not_the_expected_one(registry: ScriptedRegistry) -> None:
    """A tag that has moved since it was looked up is noticed."""
    async with client_of(registry) as client:
        with pytest.raises(ParentLied):
            await client.get_manifest(APP, LATEST, Digest(make_image("other").digest))


async def test_a_manifest_that_is_not_its_digest(registry: ScriptedRegistry) -> None:
    """Bytes that do not hash to the digest asked for are refused."""
    registry.on(f"/v2/{APP}/manifests/{INDEX.digest}", Reply(200, {}, b"{}"))
    async with client_of(registry) as client:
        with pytest.raises(ParentLied):
            await client.get_manifest(APP, Digest(INDEX.digest))


async def read_everything(client: ParentClient) -> None:
    """Every verb against a registry that holds INDEX as team/app:latest."""
    await client.ping()
    assert [tag.name for tag in (await client.list_tags(APP)).tags] == [LATEST]
    assert (await client.head_manifest(APP, LATEST)).digest == INDEX.digest
    assert (await client.get_manifest(APP, LATEST)).content == INDEX.manifest.data
    for image in INDEX.children:
        manifest = await client.get_manifest(APP, Digest(image.digest))
        assert manifest.content == image.manifest.data
        layer = image.layers[0]
        for offset in (0, 1000):
            async with client.blob(APP, Digest(layer.digest), offset, size=layer.size) as stream:
                assert stream.offset == offset
                content = b"".join([chunk async for chunk in stream.chunks])
                assert content == layer.data[offset:]
    with pytest.raises(ParentNotFound):
        await client.get_manifest(APP, Tag("absent"))
    with pytest.raises(ParentNotFound):
        async with client.blob(APP, Digest.of(b"absent")):
            pass


@pytest.mark.system
async def test_a_real_registry_that_takes_everyone(tmp_path: Path) -> None:
    """Distribution without authentication."""
    with Distribution(tmp_path) as real:
        real.push(INDEX, APP, LATEST)
        async with client_of(real) as client:
            await read_everything(client)
            assert await client.list_repositories() == [APP]
            assert await client.list_referrers(APP, Digest(INDEX.digest)) is None
            signature = real.push(make_signature(INDEX), APP)
            names = {tag.name for tag in (await client.list_tags(APP)).tags}
            assert set(signature.extra_tags) < names


@pytest.mark.system
async def test_a_real_registry_with_passwords(tmp_path: Path) -> None:
    """Distribution with htpasswd takes the right password alone."""
    with Distribution(tmp_path, htpasswd=dict([ADA])) as real:
        real.push(INDEX, APP, LATEST)
        async with client_of(real, ADA) as client:
            await read_everything(client)
        for user in (None, ("ada", "wrong")):
            async with client_of(real, user) as client:
                with pytest.raises(ParentUnauthorized):
                    await client.get_manifest(APP, LATEST)


@pytest.mark.system
@pytest.mark.parametrize(
    ("user", "get", "post"), [(ADA, True, False), (ADA, False, True), (("", "again"), True, True)]
)
async def test_a_real_registry_with_tokens(
    tmp_path: Path, user: tuple[str, str], get: bool, post: bool
) -> None:
    """Distribution checks the tokens that the token server signs, got by either form."""
    users, again = dict([ADA]), {"again": "ada"}
    with (
        TokenServer(tmp_path, users=users, refresh_tokens=again, get=get, post=post) as tokens,
        Distribution(tmp_path, tokens=tokens) as real,
    ):
        real.push(INDEX, APP, LATEST)
        async with client_of(real, user, realm_hosts=(tokens.address,)) as client:
            await read_everything(client)


@pytest.mark.system
async def test_a_real_registry_with_anonymous_tokens(tmp_path: Path) -> None:
    """As at Docker Hub: a token for nobody in particular opens what is public, and only that."""
    public = (f"repository:{APP}:pull",)
    with (
        TokenServer(tmp_path, anonymous=public) as tokens,
        Distribution(tmp_path, tokens=tokens) as real,
    ):
        real.push(INDEX, APP, LATEST)
        real.push(INDEX, "team/secret", LATEST)
        async with client_of(real) as client:
            await read_everything(client)
            with pytest.raises(ParentUnauthorized):
                await client.get_manifest(RepositoryName("team/secret"), LATEST)


@pytest.mark.system
async def test_a_real_registry_behind_tls(tmp_path: Path) -> None:
    """Distribution with a certificate of the site's own authority."""
    authority, files = trustme.CA(), [tmp_path / "server.pem", tmp_path / "server.key"]
    server = authority.issue_cert("127.0.0.1")
    server.cert_chain_pems[0].write_to_path(str(files[0]))
    server.private_key_pem.write_to_path(str(files[1]))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trust = {"ca_file": tmp_path / "ca.pem"}
    with Distribution(tmp_path / "registry", certificate=(files[0], files[1])) as real:
        real.push(INDEX, APP, LATEST)
        async with client_of(real, protocol="https", address=trust) as client:
            await read_everything(client)


@pytest.mark.system
async def test_a_real_registry_that_is_stopped_and_started_again(tmp_path: Path) -> None:
    """A parent that goes away is offline, and read on the same client when it is back."""
    with Distribution(tmp_path) as real:
        real.push(INDEX, APP, LATEST)
        async with client_of(real, attempts=2) as client:
            await client.ping()
            real.stop()
            with pytest.raises(ParentOffline):
                await client.ping()
            real.start()
            await read_everything(client)

"""Media types as they come in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connected_registry.oci.media_type import MANIFESTS, OCI_INDEX, is_foreign, parse_media_type


@given(st.sampled_from(MANIFESTS), st.sampled_from(["", "; charset=utf-8", ";v=1", " ;a=b;c=d"]))
def test_parameters_are_ignored(media_type: str, parameters: str) -> None:
    """A charset that a framework adds does not change the type, nor do blanks and case."""
    assert parse_media_type(media_type + parameters) == media_type
    assert parse_media_type(f" {media_type.upper()}{parameters}") == media_type


@pytest.mark.parametrize(
    "header", ["", "text", "/", "a/", "/b", "a/b/c", "a b/c", "a/b\r\nX: y", "é/a"]
)
def test_other_headers_are_no_type(header: str) -> None:
    """What is not ``type/subtype`` gives nothing, so it never reaches a response header."""
    assert parse_media_type(header) is None


@given(st.text(max_size=300))
def test_no_header_breaks_the_parser(header: str) -> None:
    """Any text gives nothing or a printable type."""
    media_type = parse_media_type(header)
    assert media_type is None or (media_type.isascii() and media_type.isprintable())


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_non_distributable_layers_are_known(media_type: str) -> None:
    """The layer types that no registry need hold are told apart."""
    assert is_foreign(media_type)
    assert not is_foreign(OCI_INDEX)

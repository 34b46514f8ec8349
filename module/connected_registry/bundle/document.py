"""What the JSON documents in and beside a bundle are made of: frozen, strict, camelCase."""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError
from pydantic.alias_generators import to_camel

from connected_registry.errors import BundleInvalid, RegistryError
from connected_registry.oci.digest import Digest
from connected_registry.oci.reference import RepositoryName, Tag

_Name = TypeVar("_Name", Digest, RepositoryName, Tag)


def _parsed(kind: type[_Name], value: Any) -> _Name:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    try:
        return kind.parse(value)
    except RegistryError as error:
        raise ValueError(str(error)) from None


DigestField = Annotated[Digest, PlainValidator(lambda value: _parsed(Digest, value))]
RepositoryField = Annotated[
    RepositoryName, PlainValidator(lambda value: _parsed(RepositoryName, value))
]
TagField = Annotated[Tag, PlainValidator(lambda value: _parsed(Tag, value))]
Size = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Document(BaseModel):
    """One object; keys of later releases are ignored."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
    )

    @classmethod
    def read(cls, content: bytes, source: str) -> Self:
        """Parse JSON. Raises `BundleInvalid` naming ``source`` and what is wrong in it."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BundleInvalid(
                f"{source} is not what it should be ({where + ': ' if where else ''}"
                f"{first['msg']}); copy or make it again"
            ) from None

    def write(self) -> bytes:
        """As JSON; equal documents give equal bytes."""
        return self.model_dump_json(indent=1, exclude_none=True).encode() + b"\n"

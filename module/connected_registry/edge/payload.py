"""What direct methods take: one model a payload, each wrong key refused by its name."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from connected_registry.edge.refusal import Refusal
from connected_registry.errors import ConfigurationError, RegistryError
from connected_registry.oci.reference import ImageName, RepositoryName, Tag
from connected_registry.policy.model import ContractModel, Items
from connected_registry.policy.scope import PlatformText

SCHEMA_VERSION: Final = "1.0"
MAX_PAGE: Final = 200
"""Most images of one ``listImages`` page: the answer stays below a direct method's 128 KB."""
MAX_CHECKED: Final = 200


def check_schema_version(text: str) -> str:
    """A version this release understands: major 1. Raises `ValueError`."""
    major, _, minor = text.partition(".")
    if major != "1" or not (minor or "0").isdigit():
        raise ValueError(f"must be {SCHEMA_VERSION!r}; other major versions are not understood")
    return text


def _repository(text: str) -> str:
    try:
        return RepositoryName.parse(text)
    except RegistryError:
        raise ValueError("must be a repository name such as 'team/app'") from None


def _tag(text: str) -> str:
    try:
        return Tag.parse(text)
    except RegistryError:
        raise ValueError("must be a tag such as '1.36'") from None


def _image(text: str) -> str:
    try:
        ImageName.parse(text)
    except RegistryError as error:
        raise ValueError(
            f"must be an image such as 'team/app:1.0' or 'team/app@sha256:...' ({error})"
        ) from None
    return text


Repository = Annotated[str, AfterValidator(_repository)]
Image = Annotated[str, AfterValidator(_image)]
SchemaVersion = Annotated[str, AfterValidator(check_schema_version)]


class Payload(ContractModel):
    """An object; keys that are not known are refused, because a misspelt one would be ignored."""

    model_config = ConfigDict(extra="forbid")

    schema_version: SchemaVersion = Field(SCHEMA_VERSION, description="version of the contract")

    @classmethod
    def read(cls, document: Any) -> Payload:
        """From what the hub or the command line handed over; null is an empty object.

        Raises `ConfigurationError` naming the key.
        """
        if document is None:
            document = {}
        if not isinstance(document, dict):
            raise ConfigurationError("payload", type(document).__name__, "must be a JSON object")
        try:
            return cls.model_validate(document, by_alias=True, by_name=False)
        except ValidationError as error:
            refusal = Refusal.of(error, "payload")
            raise ConfigurationError(refusal.key, refusal.value, refusal.remedy) from None


class Nothing(Payload):
    """No arguments."""


class SyncNow(Payload):
    """What to sync at once."""

    repositories: Items[Repository] = Field((), description="only these; empty: the whole scope")
    resync: bool = Field(False, description="compare everything anew")


class TaskQuery(Payload):
    """Which task is asked about."""

    correlation_id: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="as answered by the method that started the task"
    )


class PlanSync(Payload):
    """What to plan."""

    repositories: Items[Repository] = Field((), description="only these; empty: the whole scope")


class ListImages(Payload):
    """Which page of the images."""

    repository: Repository | None = Field(None, description="only this one")
    continuation_token: Annotated[str, Field(max_length=1000)] | None = Field(
        None, description="as answered with the page before"
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(100, description="images a page")


class ListUploads(Payload):
    """Which page of the changes that wait to go up."""

    after: Annotated[int, Field(ge=0)] = Field(0, description="as answered with the page before")
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(100, description="changes a page")


class CheckImages(Payload):
    """Which images must be complete."""

    images: Annotated[Items[Image], Field(min_length=1, max_length=MAX_CHECKED)] = Field(
        description="each `repository[:tag][@digest]`"
    )
    platform: PlatformText | None = Field(
        None, description="such as `linux/arm64`; default: all wanted"
    )


class Explain(Payload):
    """Which image is asked about."""

    image: Image = Field(description="`repository[:tag][@digest]`")


class CollectGarbage(Payload):
    """How to collect."""

    dry_run: bool = Field(False, description="only say what would go")


class VerifyStore(Payload):
    """How to verify."""

    repair: bool = Field(True, description="fetch what is damaged again")


class Purge(Payload):
    """What to remove."""

    repository: Repository = Field(description="from which repository")
    tags: Items[Annotated[str, AfterValidator(_tag)]] = Field(
        (), description="only these; empty: the whole repository"
    )


class UploadSupportBundle(Payload):
    """Where the bundle goes."""

    sas_url: SecretStr | None = Field(None, description="blob to write to; default: kept here")

    @field_validator("sas_url")
    @classmethod
    def _is_https(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme != "https" or not parts.hostname:
                raise ValueError("must be an https URL with a shared access signature")
        return url

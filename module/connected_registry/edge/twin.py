"""The desired properties: what the site is to hold and do. Checked whole or refused whole."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema

from connected_registry.connection_string import parse_host
from connected_registry.edge.patch import MAX_VERSION, Document, check_limits
from connected_registry.edge.payload import check_schema_version
from connected_registry.edge.refusal import HIDDEN, Refusal, format_path, shown
from connected_registry.errors import ConfigurationError, TwinInvalid
from connected_registry.policy.access import SYSTEM_SCOPE_MAPS, ClientToken, ScopeMap
from connected_registry.policy.mode import Mode
from connected_registry.policy.model import ContractModel, Items
from connected_registry.policy.notification import Notification
from connected_registry.policy.scope import Scope
from connected_registry.policy.storage import GarbageCollection, Logging, StoragePolicy, Telemetry
from connected_registry.policy.sync import SyncPolicy

Path = tuple[int | str, ...]

SCHEMA_VERSION: Final = "1.0"
MODEL_ID: Final = "dtmi:connectedRegistry:EdgeReplica;1"
"""The DTDL interface in ``docs/dtdl``, announced to the hub."""

_PASSWORD_KEYS: Final = frozenset(
    {
        "password",
        "password1",
        "password2",
        "passwd",
        "secret",
        "credential",
        "credentials",
        "synctokenpassword",
        "connectionstring",
        "accesskey",
    }
)


def _host(text: str) -> str:
    try:
        return parse_host("host", text)
    except ConfigurationError as error:
        raise ValueError(f"must be a host: {error.remedy}") from None


Host = Annotated[str, AfterValidator(_host)]
ModeName = Annotated[
    Mode,
    Field(strict=False),
    WithJsonSchema({"type": "string", "enum": ["ReadOnly", "ReadWrite", "Mirror", "Registry"]}),
]
"""With the names of the original's first releases, which mean the same."""


class Parent(ContractModel):
    """Where content comes from. Credentials are never here: they come from the environment."""

    login_server: Host | None = Field(
        None, description="`host[:port]` in place of the one that the environment names"
    )
    protocol: Literal["https", "http"] = Field("https", description="how the parent is spoken to")
    sources: Items[Host] = Field(
        (), description="hosts to try first for blobs, such as siblings; checked by digest"
    )


class Desired(ContractModel):
    """All desired properties. `Desired.parse` is the only way in."""

    schema_version: Annotated[str, AfterValidator(check_schema_version)] = Field(
        SCHEMA_VERSION, description="version of this contract; another major version is refused"
    )
    mode: ModeName = Field(Mode.READ_ONLY, description="whether pushes are taken on site")
    parent: Parent = Field(Parent(), description="the registry that content comes from")
    scope: Scope = Field(Scope(), description="which repositories, tags and platforms are kept")
    sync: SyncPolicy = Field(SyncPolicy(), description="when and how fast content is fetched")
    client_tokens: Items[ClientToken] = Field((), description="who may log in")
    scope_maps: Items[ScopeMap] = Field((), description="what those who log in may do")
    anonymous_pull: bool = Field(False, description="whether anyone may pull")
    garbage_collection: GarbageCollection = Field(
        GarbageCollection(), description="when bytes that nothing names are removed"
    )
    storage: StoragePolicy = Field(StoragePolicy(), description="how much disk may be used")
    notifications: Items[Notification] = Field((), description="which changes are told upwards")
    logging: Logging = Field(Logging(), description="what is logged")
    telemetry: Telemetry = Field(Telemetry(), description="which events go to the hub")

    @classmethod
    def parse(cls, document: Any) -> tuple[Self, tuple[str, ...]]:
        """The configuration and warnings about what was ignored.

        ``$version`` and ``$metadata`` are left out, null is the default. Raises `TwinInvalid`
        with the path of the first wrong key; nothing secret is part of it.
        """
        if not isinstance(document, Mapping):
            raise TwinInvalid("desired", type(document).__name__, "must be a JSON object")
        wanted = strip(document)
        _check_version(wanted)
        check_limits(wanted)
        _refuse_passwords((), wanted)
        _refuse_duplicates(wanted)
        try:
            desired = cls.model_validate(wanted, by_alias=True, by_name=False)
            unknown = tuple(_unknown((), desired))
            if unknown:
                pruned = _without(wanted, [path for path, _ in unknown])
                desired = cls.model_validate(pruned, by_alias=True, by_name=False)
        except ValidationError as error:
            refusal = Refusal.of(error, "desired")
            raise TwinInvalid(refusal.key, refusal.value, refusal.remedy) from None
        desired._check_scope_maps()
        return desired, tuple(sentence for _, sentence in unknown)

    def check_change(self, new: Desired, waiting_pushes: Callable[[], int]) -> None:
        """Raise `TwinInvalid` with status 409 where ``new`` may not follow ``self`` just now."""
        if self.mode is Mode.READ_WRITE and new.mode is Mode.READ_ONLY:
            waiting = waiting_pushes()
            if waiting:
                raise TwinInvalid(
                    "mode",
                    str(new.mode),
                    f"{waiting} pushes still wait to go up to the parent; ReadOnly is possible"
                    " once they have arrived",
                    status=409,
                )

    def _check_scope_maps(self) -> None:
        known = {scope_map.name for scope_map in (*SYSTEM_SCOPE_MAPS, *self.scope_maps)}
        for index, token in enumerate(self.client_tokens):
            if token.scope_map not in known:
                raise TwinInvalid(
                    f"clientTokens[{index}].scopeMap",
                    token.scope_map,
                    "must name one of scopeMaps; add it there",
                )


def strip(document: Mapping[str, Any]) -> Document:
    """``document`` without the hub's own keys, ``$version`` and ``$metadata``."""
    return {key: value for key, value in document.items() if not str(key).startswith("$")}


def version_of(document: Mapping[str, Any]) -> int | None:
    """``$version``; None where the hub does not know the twin, which says nothing about it."""
    version = document.get("$version")
    if isinstance(version, bool) or not isinstance(version, int):
        return None
    return version if 0 <= version <= MAX_VERSION else None


def _check_version(document: Mapping[str, Any]) -> None:
    """Before anything else: a later contract may have other shapes everywhere."""
    version = document.get("schemaVersion")
    if version is None:
        return
    try:
        if not isinstance(version, str):
            raise ValueError("must be a text such as '1.0'")
        check_schema_version(version)
    except ValueError as error:
        raise TwinInvalid("schemaVersion", shown(("schemaVersion",), version), str(error)) from None


def _refuse_passwords(path: Path, value: Any) -> None:
    """A password has no place in a twin, under whatever key: every reader of the hub sees it."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key.lower() in _PASSWORD_KEYS and each is not None:
                raise TwinInvalid(
                    format_path((*path, key), "desired"),
                    HIDDEN,
                    "passwords are not accepted in the twin; for client tokens set 'hash' as made"
                    " by 'connected-registry token hash', for the parent use the environment",
                )
            _refuse_passwords((*path, key), each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _refuse_passwords((*path, index), each)


def _refuse_duplicates(document: Mapping[str, Any]) -> None:
    scope = document.get("scope")
    repositories = scope.get("repositories") if isinstance(scope, Mapping) else None
    for path, items in (
        ("scope.repositories", repositories),
        ("clientTokens", document.get("clientTokens")),
        ("scopeMaps", document.get("scopeMaps")),
    ):
        seen: dict[str, int] = {}
        for index, item in enumerate(items if isinstance(items, list) else ()):
            name = item.get("name") if isinstance(item, Mapping) else None
            if not isinstance(name, str):
                continue
            if name in seen:
                raise TwinInvalid(
                    f"{path}[{index}].name",
                    shown((), name),
                    f"must be there once; {path}[{seen[name]}] has the same",
                )
            seen[name] = index
    system = {scope_map.name for scope_map in SYSTEM_SCOPE_MAPS}
    maps = document.get("scopeMaps")
    for index, item in enumerate(maps if isinstance(maps, list) else ()):
        if isinstance(item, Mapping) and item.get("name") in system:
            raise TwinInvalid(
                f"scopeMaps[{index}].name", item["name"], "is built in; choose another name"
            )


def _unknown(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    """Path and sentence of every key that nobody knows, however deep."""
    if isinstance(value, ContractModel):
        names = {
            info.alias or name: getattr(value, name)
            for name, info in type(value).model_fields.items()
        }
        for key in value.model_extra or ():
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            place = (*path, key)
            yield place, f"{format_path(place, 'desired')} is not known and ignored{hint}"
        for key, each in names.items():
            yield from _unknown((*path, key), each)
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _unknown((*path, index), each)


def _without(document: Document, paths: Iterable[Path]) -> Document:
    """A copy of ``document`` that lacks the keys at ``paths``."""
    pruned = copy.deepcopy(document)
    for path in paths:
        place: Any = pruned
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]
    return pruned

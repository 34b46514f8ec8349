"""The deployment templates, filled as an operator fills them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import connected_registry
from connected_registry.edge.twin import Desired
from connected_registry.settings import Settings

TOP = Path(__file__).resolve().parent.parent
TEMPLATES = ("deployment.template.json", "deployment.nested.template.json")
PLATFORMS = ("amd64", "arm64v8", "arm32v7")
ENVIRONMENT = {
    "CONTAINER_REGISTRY_SERVER": "contoso.azurecr.io",
    "CONNECTED_REGISTRY_NAME": "plant7",
    "SYNC_TOKEN_NAME": "plant7-sync",
    "SYNC_TOKEN_PASSWORD": 'pass"word\\+/=',
}


def render(
    *arguments: str, without: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with the operator's environment, ``without`` some of it."""
    variables = {"PATH": os.environ["PATH"], **ENVIRONMENT, **environment}
    for name in without:
        del variables[name]
    return subprocess.run(
        [sys.executable, TOP / "scripts/render-deployment", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(template: str, platform: str = "amd64") -> dict[str, Any]:
    """The manifest that a template gives."""
    answer = render("--template", str(TOP / template), "--platform", platform, "--output", "-")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def modules_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """System modules and modules by name."""
    agent = manifest["modulesContent"]["$edgeAgent"]["properties.desired"]
    return {**agent["systemModules"], **agent["modules"]}


def load(path: str) -> Any:
    """A JSON file of the repository."""
    return json.loads((TOP / path).read_text())


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_rendered_manifest_is_valid(template: str, platform: str) -> None:
    """Every template gives a manifest that the strict schema takes, on every platform."""
    jsonschema.validate(rendered(template, platform), load("tests/data/deployment.schema.json"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_create_options_are_text_of_json(template: str) -> None:
    """Twins take create options as one string; it parses back to an object."""
    for module in modules_of(rendered(template)).values():
        options = module["settings"]["createOptions"]

        assert isinstance(options, str)
        assert isinstance(json.loads(options), dict)


def test_images_come_from_the_catalogue() -> None:
    """Each image of the top layer is one of modules.json, under the registry named there."""
    catalogue = {
        module["registry"].replace("${CONTAINER_REGISTRY_SERVER}", "contoso.azurecr.io")
        + f"/{module['repository']}:{module['version']}"
        for module in load("modules.json")["modules"].values()
    }

    images = {module["settings"]["image"] for module in modules_of(rendered(TEMPLATES[0])).values()}

    assert images <= catalogue


def test_lower_layer_pulls_only_from_its_parent() -> None:
    """A nested device names its parent's proxy for every image and for the sync."""
    manifest = rendered("deployment.nested.template.json")
    agent = manifest["modulesContent"]["$edgeAgent"]["properties.desired"]
    connection = agent["modules"]["connectedRegistry"]["env"]["ACR_REGISTRY_CONNECTION_STRING"]

    images = [module["settings"]["image"] for module in modules_of(manifest).values()]

    assert all(image.startswith("$upstream:8000/") for image in images)
    assert "ParentGatewayEndpoint=$IOTEDGE_PARENTHOSTNAME:8000;" in connection["value"]
    assert agent["runtime"]["settings"]["registryCredentials"]["parent"] == {
        "address": "$upstream:8000",
        "username": "plant7-sync",
        "password": 'pass"word\\+/=',
    }


@pytest.mark.parametrize("template", TEMPLATES)
def test_scope_holds_all_that_a_lower_layer_needs(template: str) -> None:
    """The twin's scope names every image of the catalogue in its version."""
    desired = rendered(template)["modulesContent"]["connectedRegistry"]["properties.desired"]
    scope = {
        (rule["name"], tag) for rule in desired["scope"]["repositories"] for tag in rule["tags"]
    }

    assert scope == {
        (module["repository"], module["version"])
        for module in load("modules.json")["modules"].values()
    }


@pytest.mark.parametrize("template", TEMPLATES)
def test_runtime_keeps_its_state_on_the_host(template: str) -> None:
    """edgeAgent and edgeHub bind a host folder as their storage, so that updates keep messages."""
    modules = modules_of(rendered(template))
    for name in ("edgeAgent", "edgeHub"):
        binds = json.loads(modules[name]["settings"]["createOptions"])["HostConfig"]["Binds"]
        folder = modules[name]["env"]["StorageFolder"]["value"]

        assert any(bind.startswith("/") and bind.endswith(f":{folder}") for bind in binds)


@pytest.mark.parametrize(
    ("template", "parent"),
    [
        ("deployment.template.json", "contoso.azurecr.io"),
        ("deployment.nested.template.json", "upper.plant:8000"),
    ],
)
def test_module_takes_its_environment_and_twin(
    template: str, parent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's own code reads the rendered environment and twin without a complaint."""
    manifest = rendered(template)
    monkeypatch.setenv("IOTEDGE_PARENTHOSTNAME", "upper.plant")
    for name, entry in modules_of(manifest)["connectedRegistry"]["env"].items():
        monkeypatch.setenv(name, entry["value"])

    settings = Settings.load()
    _, warnings = Desired.parse(
        manifest["modulesContent"]["connectedRegistry"]["properties.desired"]
    )

    assert settings.parent is not None
    assert settings.parent.host == parent
    assert settings.parent.username == "plant7-sync"
    assert (*settings.warnings, *warnings) == ()


def test_catalogue_follows_its_schema() -> None:
    """modules.json is what its schema says."""
    schema = load("docs/modules.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(load("modules.json"), schema)


def test_our_version_is_the_same_everywhere() -> None:
    """modules.json, module.json and the package name one version and one repository."""
    ours = load("modules.json")["modules"]["connectedRegistry"]
    image = load("module/module.json")["image"]

    assert ours["version"] == connected_registry.__version__
    assert image["tag"]["version"] == connected_registry.__version__
    assert image["repository"] == f"{ours['registry']}/{ours['repository']}"
    assert {(TOP / "module" / path).resolve() for path in image["tag"]["platforms"].values()} == {
        TOP / ours["dockerfile"]
    }


def test_dockerfile_copies_what_the_build_context_holds() -> None:
    """Every path the Dockerfile copies exists and is let through by .dockerignore."""
    allowed = [
        line[1:]
        for line in (TOP / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    lines = (TOP / "module/Dockerfile").read_text().splitlines()
    sources = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]

    assert sources
    for source in sources:
        assert (TOP / source).exists()
        assert any(source == each or source.startswith(f"{each}/") for each in allowed)


def test_licence_of_the_package_is_there() -> None:
    """The licence named by pyproject.toml is there, so that a build of the wheel finds it."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]

    assert [path for path in project["license-files"] if (TOP / path).is_file()] == ["LICENSE"]


def test_missing_variables_are_all_named() -> None:
    """Each missing variable is named once, and nothing is written."""
    answer = render("--output", "-", without=("SYNC_TOKEN_NAME", "CONTAINER_REGISTRY_SERVER"))

    assert answer.returncode == 2
    assert answer.stdout == ""
    assert sorted(line.split()[1] for line in answer.stderr.splitlines()) == [
        "CONTAINER_REGISTRY_SERVER",
        "SYNC_TOKEN_NAME",
    ]


@pytest.mark.parametrize(
    ("placeholder", "sentence"),
    [
        ("${MODULES.nobody}", "modules.json has no such module"),
        ("${MODULES.edgeAgent.debug}", "is not a placeholder"),
        ("${not a name}", "is not a placeholder"),
    ],
)
def test_unknown_placeholder_is_refused(tmp_path: Path, placeholder: str, sentence: str) -> None:
    """A placeholder that cannot be filled is told with what would be right."""
    template = tmp_path / "t.template.json"
    template.write_text(json.dumps({"modulesContent": placeholder}))

    answer = render("--template", str(template), "--output", "-")

    assert answer.returncode == 2
    assert sentence in answer.stderr


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"modulesContent": {"$edgeAgent": 3}}'])
def test_broken_template_is_one_sentence(tmp_path: Path, content: str) -> None:
    """A template that is no deployment is refused without a traceback."""
    template = tmp_path / "t.template.json"
    template.write_text(content)

    answer = render("--template", str(template), "--output", "-")

    assert answer.returncode == 2
    assert answer.stderr.startswith("render-deployment: ")
    assert len(answer.stderr.splitlines()) == 1


def test_module_that_lacks_a_platform_is_refused(tmp_path: Path) -> None:
    """A catalogue that does not offer the platform says so instead of deploying it."""
    catalogue = load("modules.json")
    catalogue["modules"]["edgeHub"]["platforms"] = ["linux/amd64"]
    modules = tmp_path / "modules.json"
    modules.write_text(json.dumps(catalogue))

    answer = render("--modules", str(modules), "--platform", "arm64v8", "--output", "-")

    assert answer.returncode == 2
    assert "edgeHub is not made for arm64v8" in answer.stderr


def test_default_output_is_named_by_template_and_platform(tmp_path: Path) -> None:
    """Where no output is named, the file is below config/ and only its owner may read it."""
    top = tmp_path / "checkout"
    (top / "scripts").mkdir(parents=True)
    for name in ("scripts/render-deployment", "modules.json", *TEMPLATES):
        (top / name).write_bytes((TOP / name).read_bytes())

    answer = subprocess.run(
        [
            sys.executable,
            top / "scripts/render-deployment",
            "--platform=arm64v8",
            f"--template={top / TEMPLATES[1]}",
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    written = top / "config/deployment.nested.arm64v8.json"

    assert answer.stdout.strip() == str(written)
    assert written.stat().st_mode & 0o077 == 0
    assert "modulesContent" in json.loads(written.read_text())

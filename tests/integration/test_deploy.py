"""What stands in ``deploy/`` fits together, and with what the sidecar reads and tells."""

import re
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import pytest

import meterline
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.files import LedgerFiles

yaml: Any = import_module("yaml")  # has no types
DEPLOY: Final = Path(__file__).parents[2] / "deploy"
CHART: Final = DEPLOY / "helm" / "meterline"
TEMPLATES: Final = sorted((CHART / "templates").iterdir())
PROMTOOL: Final = shutil.which("promtool")
HADOLINT: Final = shutil.which("hadolint")
HELM: Final = shutil.which("helm")
SDK: Final = "helm_python"
"""Helm's own code as a package, where there is no ``helm``."""
SCHEMAS: Final = "kubernetes_validate"
YAML_FILES: Final = sorted(
    path
    for pattern in ("*.yml", "*.yaml")
    for path in DEPLOY.rglob(pattern)
    if path not in TEMPLATES
)
RELEASES: Final[dict[str, dict[str, Any]]] = {
    "all": {},
    "edges": {
        "centre": {"enabled": False},
        "edge": {
            "centreUrl": "tls://centre.example.com:8271",
            "allowedUids": [33, 34],
            "config": '[[meter]]\nname = "api_calls"\naggregation = "count"\n',
            "priorityClassName": "high",
            "nodeSelector": {"pool": "apps"},
            "tolerations": [{"operator": "Exists"}],
        },
    },
    "centre": {
        "edge": {"enabled": False},
        "image": {"tag": "9", "pullSecrets": [{"name": "registry"}]},
        "centre": {
            "pricing": '[[plan]]\nname = "starter"\nversion = 1\n'
            'effective = 2020-01-01\ncurrency = "usd"\n',
            "http": "0.0.0.0:8270",
            "env": [{"name": "A", "value": "b"}],
            "storage": {"existingClaim": "ledger"},
            "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        },
    },
}


def documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML text."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(folder: Path, meterline: str, pricing: str | None = None) -> Config:
    """Return what the files of a sidecar say."""
    file = folder / "meterline.toml"
    file.write_text(meterline)
    if pricing is not None:
        (folder / "pricing.toml").write_text(pricing)
    return read_config(file, environment={"METERLINE_EDGE_NAME": "host-1"})


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_every_file_is_yaml(path: Path) -> None:
    assert documents(path.read_text())


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """Return where each secret of a service is put; empty: where all are."""
    given: list[str | dict[str, str]] = service.get("secrets", [])
    return {
        one if isinstance(one, str) else one["source"]: (
            "" if isinstance(one, str) else one["target"]
        )
        for one in given
    }


def test_the_services_of_compose_name_what_is_there(tmp_path: Path) -> None:
    (compose,) = documents((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]

    for name, file in compose["configs"].items():
        assert (DEPLOY / file["file"]).is_file(), name
    # Two that export an image of one name at a time fail, so that one makes it for all.
    assert [name for name, one in services.items() if "build" in one] == ["centre-1"]
    for name, service in services.items():
        volumes = {mount.partition(":")[0] for mount in service["volumes"]}
        secrets = set(secrets_of(service))
        assert {v for v in volumes if v[0] != "."} <= set(compose["volumes"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
        assert secrets <= set(compose["secrets"]), name
        if name == "db":
            continue  # of an image that is not ours
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
    edge = read(tmp_path, (DEPLOY / "compose" / "edge.toml").read_text())
    centre = read(
        tmp_path,
        (DEPLOY / "compose" / "centre.toml").read_text(),
        (DEPLOY / "compose" / "pricing.toml").read_text(),
    )
    assert (edge.centre.own_name, str(edge.centre.url)) == ("host-1", "centre:8271")
    assert str(centre.centre.listen) == "0.0.0.0:8271"
    assert centre.server is not None
    beside = LedgerFiles(Path("/var/lib/meterline/meterline.db"))
    placed = set(secrets_of(services["centre-2"]).values()) - {""}
    assert placed == {str(beside.key), str(beside.portal_key)}
    for path in (
        edge.centre.token_file,
        centre.centre.tls_key,
        centre.server.password_file,
    ):
        assert path is not None
        assert path.name in compose["secrets"]


def test_the_image_is_made_of_what_its_context_has() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]

    assert copied
    for source in copied:
        assert (DEPLOY.parent / source).exists()
        assert f"!{source}" in kept
    # What was compiled on the host is of that host.
    assert "**/*.so" in kept
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    if HADOLINT is not None:
        run(HADOLINT, str(DEPLOY / "Dockerfile"))


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine")
def test_promtool_accepts_the_alert_rules_and_tries_them() -> None:
    assert PROMTOOL is not None
    prometheus = DEPLOY / "prometheus"

    assert "11 rules found" in run(
        PROMTOOL, "check", "rules", str(prometheus / "alerts.yml")
    )
    assert "SUCCESS" in run(
        PROMTOOL, "test", "rules", str(prometheus / "alerts_test.yml")
    )


def paths_of(values: dict[str, Any], before: str = "") -> set[str]:
    """Return every value of a chart that is none of others, by its path."""
    found: set[str] = set()
    for name, value in values.items():
        path = f"{before}{name}"
        if isinstance(value, dict) and value and name != "resources":
            found |= paths_of(cast("dict[str, Any]", value), f"{path}.")
        else:
            found.add(path)
    return found


def test_the_chart_reads_just_the_values_that_it_names() -> None:
    (values,) = documents((CHART / "values.yaml").read_text())
    asked = {
        path
        for template in TEMPLATES
        for path in re.findall(r"\.Values\.([\w.]+)", template.read_text())
    }

    assert paths_of(values) == asked


def test_the_chart_is_of_this_version() -> None:
    (chart,) = documents((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == meterline.__version__


def rendered(values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return what Helm makes of the chart."""
    if HELM is not None:
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        return documents(run(HELM, "template", "rel", str(CHART), "-f", str(file)))
    sdk: Any = import_module(SDK)
    with sdk.Chart.load(str(CHART)) as chart:
        made: dict[str, str] = chart.render(values=values, name="rel")
    return [
        document
        for name, text in made.items()
        if name.endswith(".yaml")
        for document in documents(text)
    ]


@pytest.mark.skipif(
    HELM is None and find_spec(SDK) is None, reason="no Helm on this machine"
)
@pytest.mark.parametrize("release", RELEASES)
def test_helm_makes_what_kubernetes_takes(release: str, tmp_path: Path) -> None:
    made = rendered(RELEASES[release], tmp_path)

    kinds = {one["kind"] for one in made}
    assert ("DaemonSet" in kinds) == (release != "centre")
    assert ("StatefulSet" in kinds) == (release != "edges")
    schemas: Any = import_module(SCHEMAS) if find_spec(SCHEMAS) is not None else None
    for one in made:
        if schemas is not None:
            schemas.validate(one, "1.33", strict=True)
        if one["kind"] == "ConfigMap":
            files = one["data"]
            config = read(tmp_path, files["meterline.toml"], files.get("pricing.toml"))
            assert one["metadata"]["name"].endswith(config.sidecar.role)
        if one["kind"] in ("DaemonSet", "StatefulSet"):
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert {"requests", "limits"} == set(container["resources"])
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)

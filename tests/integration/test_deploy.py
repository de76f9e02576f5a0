"""What stands in ``deploy/`` fits together, and with what the sidecar reads and tells."""

import json
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
    "several": {
        "uid": 1_000_660_000,
        "centre": {
            "replicas": 3,
            "database": {"url": "postgresql://meterline@db/meterline", "secret": "db"},
            "sidecar": 'trusted_proxies = ["10.0.0.0/8"]\nrequire_token = true\n',
            "centre": "lease_s = 10",
            "env": [{"name": "A", "value": "b"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "podAnnotations": {"a": "b"},
            "serviceAccountAnnotations": {"a": "b"},
        },
        "edge": {
            "allowedUids": [1_000_670_000, 33],
            "sidecar": "require_token = true",
            "centre": 'forward = "usage"',
            "config": '[archive]\nurl = "/var/lib/meterline/files"\n',
            "env": [{"name": "A", "value": "b"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "podAnnotations": {"a": "b"},
            "serviceAccountAnnotations": {"a": "b"},
        },
    },
}
REFUSED: Final[dict[str, dict[str, Any]]] = {
    "a ledger in a file has one writer": {"centre": {"replicas": 2}},
    "name a Secret with the keys": {
        "centre": {"database": {"url": "postgresql://meterline@db/meterline"}}
    },
    "each of several centres needs a volume of its own": {
        "centre": {
            "replicas": 2,
            "database": {"url": "postgresql://meterline@db/meterline", "secret": "db"},
            "storage": {"existingClaim": "ledger"},
        }
    },
    "name the centre that edges send to": {"centre": {"enabled": False}},
    "additional properties 'replica' not allowed": {"centre": {"replica": 1}},
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

    assert "12 rules found" in run(
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


def rendered(
    values: dict[str, Any], folder: Path, *, name: str = "rel"
) -> list[dict[str, Any]]:
    """Return what Helm makes of the chart.

    Raises:
        Exception: it refuses the values.
    """
    if HELM is not None:
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        return documents(run(HELM, "template", name, str(CHART), "-f", str(file)))
    sdk: Any = import_module(SDK)
    with sdk.Chart.load(str(CHART)) as chart:
        made: dict[str, str] = chart.render(values=values, name=name)
    return [
        document
        for name, text in made.items()
        if name.endswith(".yaml")
        for document in documents(text)
    ]


NEEDS_HELM: Final = pytest.mark.skipif(
    HELM is None and find_spec(SDK) is None, reason="no Helm on this machine"
)


@NEEDS_HELM
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
            pod = one["spec"]["template"]["spec"]["securityContext"]
            assert pod["runAsUser"] == RELEASES[release].get("uid", 10001)
            assert isinstance(pod["runAsUser"], int)
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


@NEEDS_HELM
def test_several_centres_share_what_lies_beside_their_ledger(tmp_path: Path) -> None:
    made = rendered(RELEASES["several"], tmp_path)

    (centre,) = (one["spec"] for one in made if one["kind"] == "StatefulSet")
    (container,) = centre["template"]["spec"]["containers"]
    mounted = {one["mountPath"]: one for one in container["volumeMounts"]}
    beside = LedgerFiles(Path("/var/lib/meterline/meterline.db"))
    (budget,) = (one for one in made if one["kind"] == "PodDisruptionBudget")
    files = next(one for one in made if one["kind"] == "ConfigMap")["data"]
    config = read(tmp_path, files["meterline.toml"])
    assert centre["replicas"] == 3
    assert budget["spec"]["maxUnavailable"] == 1
    assert "podAntiAffinity" in centre["template"]["spec"]["affinity"]
    assert mounted[str(beside.key)]["subPath"] == "ledger.key"
    assert mounted[str(beside.portal_key)]["subPath"] == "portal.key"
    assert config.server is not None
    assert config.server.password_file == Path("/run/meterline/database/password")
    assert config.sidecar.require_token
    assert config.centre.lease_s == 10


@NEEDS_HELM
@pytest.mark.parametrize("name", ["a" * 53, "billing"])
def test_the_longest_name_fits_into_the_labels_of_its_pods(
    name: str, tmp_path: Path
) -> None:
    values = {"fullnameOverride": "b" * 60} if name == "billing" else {}

    (centre,) = (
        one
        for one in rendered(values, tmp_path, name=name)
        if one["kind"] == "StatefulSet"
    )

    # The label controller-revision-hash: the name, and up to eleven characters more.
    assert len(centre["metadata"]["name"]) == 52


@NEEDS_HELM
@pytest.mark.parametrize("told", REFUSED)
def test_values_that_cannot_be_meant_are_refused_in_words(
    told: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=re.escape(told)):
        rendered(REFUSED[told], tmp_path)


def test_the_schema_of_the_values_has_each_of_them() -> None:
    (values,) = documents((CHART / "values.yaml").read_text())
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: dict[str, Any], schema: dict[str, Any]) -> None:
        assert schema["additionalProperties"] is False
        assert set(values) == set(schema["properties"]) - {"global"}
        for name, value in values.items():
            if "properties" in schema["properties"][name]:
                compare(value, schema["properties"][name])

    compare(values, schema)

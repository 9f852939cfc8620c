"""`deploy/`: what the compose file promises, read by a parser, and its checks and queries against a running service."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import kubernetes_validate
import pytest
from bentoml._internal.container import construct_containerfile
from colours import BENTOML, PROJECT, make_photo, serve
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from landmarks.serving.receipt import PackageReceipt
from local_servers import answers, find_free_port, wait_for

pytestmark = pytest.mark.slow

DEPLOY = PROJECT / "deploy"
COMPOSE: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/landmarks.json").read_text())
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
# all of the machine read-only, but for a small disk in the folder $1
_READ_ONLY = """
mkdir -p "$1/tmpfs" && mount -t tmpfs -o size=256m tmpfs "$1/tmpfs" || exit 1
for mount in / /tmp "$(stat -c %m "$1")"; do mount -o remount,bind,ro "$mount" 2>/dev/null; done
touch "$1/file" 2>/dev/null && exit 1
shift; exec "$@"
"""
VARIABLE = re.compile(r"\$\{(\w+)(:[-?][^}]*)?\}")
ANALYTICS = {
    "service": {"BENTOML_DO_NOT_TRACK": "True"},
    "page": {"STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "grafana": {"GF_ANALYTICS_REPORTING_ENABLED": "false", "GF_ANALYTICS_CHECK_FOR_UPDATES": "false"},
}


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    with serve([], workspace) as address:
        for photo in (make_photo((255, 0, 0)), b"no photo"):
            httpx.post(f"{address}/classify", files={"image": photo})
        yield address


def list_mounts() -> list[str]:
    return [mount for service in SERVICES.values() for mount in service.get("volumes", [])]


def test_every_part_is_there() -> None:
    assert {"service", "page", "mlflow", "postgres", "prometheus", "grafana"} <= set(SERVICES)
    assert all(("image" in service) != ("build" in service) for service in SERVICES.values())


def test_every_image_is_pinned() -> None:
    dockerfiles = [
        (DEPLOY.parent / service["build"]["dockerfile"]).read_text()
        for service in SERVICES.values()
        if "build" in service
    ]
    images = [service["image"] for name, service in SERVICES.items() if "image" in service and name != "service"]
    images += [line.split()[1] for text in dockerfiles for line in text.splitlines() if line.startswith("FROM")]
    assert len(images) >= 6
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []
    assert SERVICES["service"]["image"].startswith("${LANDMARKS_BENTO:?")


def test_every_mounted_file_and_every_volume_exists() -> None:
    sources = [mount.split(":")[0] for mount in list_mounts()]
    files = [source for source in sources if source.startswith(".")]
    assert files
    assert [source for source in files if not (DEPLOY / source).exists()] == []
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])


def test_who_waits_for_whom() -> None:
    for service in SERVICES.values():
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else []:
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            else:
                assert "restart" not in SERVICES[other]
        assert set(waits) <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert "/tmp" in [mount.split(":")[0] for mount in service["tmpfs"]]
    assert not service.get("privileged")
    # chown of a new volume, and nothing else, is done as root
    assert ("cap_add" in service) == (service.get("user") == "root") == (name == "log-folder")
    assert service.get("cap_add", ["CHOWN"]) == ["CHOWN"]
    assert not any("docker.sock" in mount for mount in service.get("volumes", []))


def test_the_service_runs_where_it_can_write_to_nothing_but_its_tmpfs(receipt: PackageReceipt, tmp_path: Path) -> None:
    command = ["unshare", "-rm", "sh", "-c", _READ_ONLY]
    if subprocess.run([*command, "sh", str(tmp_path), "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount can be made here")
    settings = SERVICES["service"]["environment"]
    assert settings["BENTOML_HOME"].startswith("/tmp/")
    scratch, port = tmp_path / "tmpfs", find_free_port()
    environment = {"TMPDIR": str(scratch), "HOME": "/nowhere", "BENTOML_HOME": str(scratch / "bentoml")}
    # the folder that becomes the image
    with construct_containerfile(bentoml.bentos.get(receipt.tag)) as (folder, _), (tmp_path / "log").open("wb") as log:
        serve_it = [str(BENTOML), "serve", folder, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "sh", str(tmp_path), *serve_it], env=os.environ | environment, stdout=log, stderr=log, cwd="/"
        )
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"), process, tmp_path / "log")
            answer = httpx.post(f"http://127.0.0.1:{port}/classify", files={"image": make_photo((255, 0, 0))})
            assert answer.json()["predictions"][0]["name"] == "Red Tower"
            assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
        finally:
            process.terminate()
            process.wait(30)
    assert "Traceback" not in (tmp_path / "log").read_text(errors="replace")


def test_secrets_come_from_the_environment_alone() -> None:
    named = {match[0]: match[1] for match in VARIABLE.findall((DEPLOY / "compose.yaml").read_text())}
    assert set(named) == set(EXAMPLE)
    secrets = [name for name in EXAMPLE if re.search("PASSWORD|KEY|TOKEN|SECRET", name)]
    assert len(secrets) == 3
    assert [EXAMPLE[name] for name in secrets] == ["", "", ""]
    settings = {key: value for service in SERVICES.values() for key, value in service.get("environment", {}).items()}
    for key, value in settings.items():
        if re.search("PASSWORD|API_KEY", key):
            assert VARIABLE.fullmatch(value), key
    ignored = subprocess.run(["git", "check-ignore", "deploy/.env"], cwd=PROJECT, capture_output=True, check=False)
    assert ignored.returncode == 0


def test_nothing_is_open_to_the_network_unless_asked_for() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) == 5
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in ports)


def test_nothing_phones_home() -> None:
    for name, settings in ANALYTICS.items():
        assert settings.items() <= SERVICES[name]["environment"].items()
    page = tomllib.loads((PROJECT / "app/.streamlit/config.toml").read_text())
    assert page["browser"] == {"gatherUsageStats": False, "serverAddress": "localhost"}


def test_mlflow_answers_to_its_names_with_their_ports() -> None:
    hosts = SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert VARIABLE.fullmatch(hosts)
    assert EXAMPLE["MLFLOW_ALLOWED_HOSTS"] in hosts
    assert "mlflow:5000" in hosts.strip("}").split(",")


def has_compose() -> bool:
    docker = shutil.which("docker")
    return (
        docker is not None
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_docker_takes_the_file() -> None:
    command = [
        "docker",
        "compose",
        "-f",
        str(DEPLOY / "compose.yaml"),
        "--env-file",
        str(DEPLOY / ".env.example"),
        "config",
        "-q",
    ]
    subprocess.run(command, check=True, env=os.environ | {"POSTGRES_PASSWORD": "x", "GRAFANA_PASSWORD": "x"})


def test_the_health_check_finds_a_service_healthy(address: str) -> None:
    kind, program, *arguments = SERVICES["service"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    local = [argument.replace("http://127.0.0.1:3000", address) for argument in arguments]
    assert local != arguments
    assert subprocess.run([sys.executable, *local], check=False).returncode == 0
    dead = [argument.replace("127.0.0.1:3000", "127.0.0.1:1") for argument in arguments]
    assert subprocess.run([sys.executable, *dead], check=False, capture_output=True).returncode != 0


def test_prometheus_asks_the_service_and_grafana_asks_prometheus(address: str) -> None:
    config = YAML(typ="safe").load((DEPLOY / "prometheus.yaml").read_text())
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["service:3000"]}]
    assert httpx.get(f"{address}{job['metrics_path']}").status_code == 200
    [source] = YAML(typ="safe").load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    [provider] = YAML(typ="safe").load((DEPLOY / "grafana/provisioning/dashboards/landmarks.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).relative_to(folder)).is_file()


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_every_query_names_what_the_service_tells(address: str, panel: dict[str, Any]) -> None:
    samples = httpx.get(f"{address}/metrics").text
    for target in panel["targets"]:
        names = set(re.findall(r"(?:bentoml|landmarks)_\w+", target["expr"]))
        assert names
        for name in names:
            told = re.findall(rf"^{name}(?:\{{(.*)\}})? ", samples, re.MULTILINE)
            assert told, name
            known = set(re.findall(r'(\w+)="', told[0]))
            wanted = re.findall(r"by \(([^)]*)\)", target["expr"]) + re.findall(r"(\w+)=~?\"", target["expr"])
            assert {label.strip() for part in wanted for label in part.split(",")} <= known
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= {
            label.strip() for part in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in part.split(",")
        }


@pytest.fixture(scope="module")
def prometheus(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with our settings, asking the service that runs here, more often."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), find_free_port()
    config = (DEPLOY / "prometheus.yaml").read_text().replace("service:3000", address.removeprefix("http://"))
    (folder / "prometheus.yaml").write_text(config.replace("15s", "500ms"))
    shutil.copy2(DEPLOY / "alerts.yaml", folder)
    command = [program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    parameters = {"query": expression.replace("$__rate_interval", "30s")}
    with contextlib.suppress(httpx.TransportError):
        answer = httpx.get(f"{prometheus}/api/v1/query", params=parameters).json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])
    return []


def test_prometheus_finds_figures_for_every_panel(address: str, prometheus: str) -> None:
    end = time.monotonic() + 30
    # rates need requests between two visits
    rising = 'rate(landmarks_refused_photos_total{reason="unsupported"}[30s]) > 0'
    while time.monotonic() < end and not query(prometheus, rising):
        for colour in ((255, 0, 0), (128, 128, 128)):
            httpx.post(f"{address}/classify", files={"image": make_photo(colour)})
        httpx.post(f"{address}/classify", files={"image": b"no photo"})
        time.sleep(0.1)
    found = {
        panel["title"]: [query(prometheus, target["expr"]) for target in panel["targets"]]
        for panel in DASHBOARD["panels"]
    }
    assert [title for title, results in found.items() if not all(results)] == []
    answers = {one["metric"]["answer"]: float(one["value"][1]) for one in found["Landmark or not"][0]}
    assert answers["landmark"] > 0
    refused = {one["metric"]["reason"]: float(one["value"][1]) for one in found["Photos refused"][0]}
    assert refused["unsupported"] > 0
    assert refused["too_large"] == 0
    [[requests]] = found["Requests a second"]
    assert float(requests["value"][1]) > 0
    [[faults]] = found["Faults"]
    assert float(faults["value"][1]) == 0


def test_each_alert_fires_on_what_it_is_for_and_not_before(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    for file in (DEPLOY / "alerts.yaml", Path(__file__).with_name("test_alerts.yaml")):
        shutil.copy2(file, tmp_path)
    done = subprocess.run(
        [program, "test", "rules", "test_alerts.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = YAML(typ="safe").load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    tried = (tmp_path / "test_alerts.yaml").read_text()
    assert all(f"alertname: {rule['alert']}" in tried for rule in rules)


def test_the_container_runs_without_root_on_the_python_it_was_packed_for(receipt: PackageReceipt) -> None:
    folder = Path(bentoml.bentos.get(receipt.tag).path)
    dockerfile = (folder / "env/docker/Dockerfile").read_text()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"FROM python:{python}-slim " in dockerfile
    assert f"uv venv --python {python} " in dockerfile
    assert re.findall(r"^USER (\w+)", dockerfile, re.MULTILINE)[-1] == "bentoml"
    assert "ENV BENTOML_DO_NOT_TRACK=$BENTOML_DO_NOT_TRACK" in dockerfile
    [user] = re.findall(r"^ARG BENTO_USER_UID=(\d+)$", dockerfile, re.MULTILINE)
    # the folder of the request log belongs to whom the service runs as
    assert SERVICES["log-folder"]["entrypoint"] == ["chown", f"{user}:{user}", "/log"]


@pytest.mark.parametrize("name", ["page", "mlflow", "train"])
def test_dockerfiles_copy_what_is_there_and_run_without_root(name: str) -> None:
    text = (DEPLOY / f"{name}.Dockerfile").read_text()
    sources = [source for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for source in line.split()]
    admitted = re.findall(r"^!(.+)$", (PROJECT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(sources) <= set(admitted)
    assert all((PROJECT / source).exists() for source in sources)
    assert re.findall(r"^USER (\w+)", text, re.MULTILINE)[-1] != "root"
    command, *own = re.findall(r"(pip install [^\n\\]*)", text)
    assert "--require-hashes" in command
    lock = {"train": "requirements.lock"}.get(name, f"/tmp/{name}.lock")
    assert command.strip().endswith(f"-r {lock}")
    assert all("--no-deps --no-build-isolation -e ." in line for line in own)


MANIFESTS = [
    (path.stem, document)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in YAML(typ="safe").load_all(path.read_text())
]
DEPLOYMENTS = [(stem, document) for stem, document in MANIFESTS if document["kind"] == "Deployment"]


@pytest.mark.parametrize(("stem", "document"), MANIFESTS, ids=lambda part: part if isinstance(part, str) else "")
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_takes_the_manifests(stem: str, document: dict[str, Any], version: str) -> None:
    assert stem
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("stem", "document"), DEPLOYMENTS, ids=lambda part: part if isinstance(part, str) else "")
def test_every_pod_is_confined_and_asks_where_its_service_answers(stem: str, document: dict[str, Any]) -> None:
    pod = document["spec"]["template"]["spec"]
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert not any(re.search("KEY|PASSWORD|TOKEN", one["name"]) and "value" in one for one in container["env"])
    # what compose sets of it too, and how it is asked
    settings = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    of_compose = SERVICES["service" if stem == "service" else "page"]
    assert {name: of_compose["environment"][name] for name in settings if name != "LANDMARKS_SERVICE_URL"} == {
        name: value for name, value in settings.items() if name != "LANDMARKS_SERVICE_URL"
    }
    probed = {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert any(path in " ".join(of_compose["healthcheck"]["test"]) for path in probed)
    [service] = [one for name, one in MANIFESTS if name == stem and one["kind"] == "Service"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_the_page_in_kubernetes_asks_the_service_there() -> None:
    [page] = [one for name, one in DEPLOYMENTS if name == "page"]
    [service] = [one for name, one in MANIFESTS if name == "service" and one["kind"] == "Service"]
    settings = {one["name"]: one.get("value") for one in page["spec"]["template"]["spec"]["containers"][0]["env"]}
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert settings["LANDMARKS_SERVICE_URL"] == f"http://{name}:{port}"


def test_a_probe_of_kubernetes_finds_the_service_well(address: str) -> None:
    [service] = [one for name, one in DEPLOYMENTS if name == "service"]
    [container] = service["spec"]["template"]["spec"]["containers"]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        assert httpx.get(address + container[probe]["httpGet"]["path"]).status_code == 200


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    for unit in (DEPLOY / "systemd").iterdir():
        text = unit.read_text().replace("/srv/landmarks/deploy", str(DEPLOY)).replace("/srv/landmarks", str(PROJECT))
        (tmp_path / unit.name).write_text(text)
    units = [str(tmp_path / name) for name in ("landmarks-drift.timer", "landmarks-drift.service")]
    done = subprocess.run([program, "verify", *units], capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "landmarks-drift" in line]
    assert (done.returncode, own) == (0, []), done.stderr


@pytest.mark.parametrize("name", ["page", "mlflow"])
def test_images_install_what_the_lock_has_with_its_hashes(name: str) -> None:
    whole, part = read_lock(PROJECT / "requirements.lock"), read_lock(DEPLOY / f"{name}.lock")
    wanted = [Requirement(line).name for line in (DEPLOY / f"{name}.in").read_text().split()]
    assert wanted
    assert set(wanted) <= set(part)
    for package, pin in part.items():
        assert pin == whole[package]


def read_lock(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package, version and hashes of every line of a lock."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    pins = [re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+) (.*)", line) for line in lines if line]
    assert all(pins)
    read = {pin[1]: (pin[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", pin[3]))) for pin in pins if pin}
    assert all(hashes for _, hashes in read.values())
    return read

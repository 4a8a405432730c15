"""The deployment files: what they mount exists, what they set is a setting, what they draw is measured."""

import importlib
import itertools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from core.jobs.queues import QUEUES
from core.settings import Settings
from ops.cli import app

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "ops/grafana/dashboards/tenfold.json"
OURS = ("migrate", "api", "worker", "bulk", "time")
# Of the compose file itself, not of Tenfold.
COMPOSE_VARIABLES = {"POSTGRES_PASSWORD", "API_DATABASE_PASSWORD", "WORKER_DATABASE_PASSWORD", "GRAFANA_PASSWORD"}
SETTINGS = {field.name.upper() for field in fields(Settings)}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


# -- compose


def test_docker_accepts_the_compose_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker compose here")
    secrets = dict.fromkeys((*COMPOSE_VARIABLES, "JWT_SECRET_KEY"), "x" * 40)
    run = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, env=secrets, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_service_has_an_image_and_comes_back_except_the_migration(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["image"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
        version = service["image"].partition(":")[2]
        assert name in OURS or re.match(r"v?\d+", version), f"{name} must name a version"


def test_what_is_mounted_exists_and_named_volumes_are_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"], (name, mount)


def test_what_a_service_waits_for_exists_and_can_become_so(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else ():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], other
            else:
                assert services[other]["restart"] == "no", other


def test_every_tier_starts_after_the_migration(compose: dict[str, Any]) -> None:
    for name in ("api", "worker", "bulk", "time"):
        assert compose["services"][name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_our_services_are_given_settings_and_all_that_are_required(compose: dict[str, Any]) -> None:
    for name in OURS:
        environment = compose["services"][name]["environment"]
        assert set(environment) <= SETTINGS | COMPOSE_VARIABLES, name
        filled = {
            key: re.sub(r"\$\{[^}]*\}", "kV0m28qZrX7cTn4yLwS1uHgBfJeDaPo9", value) for key, value in environment.items()
        }
        settings = Settings.from_env(filled)
        assert settings.tenfold_env == "production"
        assert settings.queue_redis_url != settings.redis_url
        assert settings.encryption_keys, "a key that is given reaches it"
        assert (settings.host, settings.port, settings.worker_metrics_port) == ("0.0.0.0", 8000, 9101)


def test_each_tier_knows_its_own_login_and_neither_the_owners_nor_the_others(compose: dict[str, Any]) -> None:
    urls = ("DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL")
    known = {
        name: {url for url in urls if compose["services"][name]["environment"][url]}
        for name in OURS
        # .env, which is given to each of our services, holds the passwords, too.
        if name == "migrate" or not any(compose["services"][name]["environment"][v] for v in COMPOSE_VARIABLES)
    }
    workers = {name: {"WORKER_DATABASE_URL"} for name in ("worker", "bulk", "time")}
    assert known == {"migrate": set(urls), "api": {"API_DATABASE_URL"}, **workers}


def test_what_the_file_asks_of_the_environment_is_known_and_secrets_are_demanded() -> None:
    asked = re.findall(r"\$\{(\w+)(:\?|:-|\})", (ROOT / "docker-compose.yml").read_text())
    assert {name for name, _ in asked} <= SETTINGS | COMPOSE_VARIABLES
    for name, how in asked:
        if name in COMPOSE_VARIABLES | {"JWT_SECRET_KEY"}:
            assert how == ":?", f"{name} must have no default"


def test_our_services_run_commands_that_exist(compose: dict[str, Any]) -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for name in OURS:
        program, command, *_ = compose["services"][name]["command"]
        assert program == "tenfold"
        assert command in commands


def test_the_queue_keeps_what_it_accepted_and_the_cache_is_bounded(compose: dict[str, Any]) -> None:
    queue, cache = (" ".join(compose["services"][name]["command"]) for name in ("queue", "cache"))
    assert "--appendonly yes --appendfsync always --maxmemory-policy noeviction" in queue
    assert compose["services"]["queue"]["volumes"] == ["queue:/data"]
    assert "--maxmemory 256mb --maxmemory-policy allkeys-lru" in cache


def test_only_the_api_is_open_to_other_machines(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert name == "api" or port.startswith("127.0.0.1:"), (name, port)


# -- the image


def test_the_image_is_built_from_files_that_exist_and_runs_as_nobody_special(compose: dict[str, Any]) -> None:
    build = compose["services"]["api"]["build"]
    lines = (ROOT / build["context"] / build["dockerfile"]).read_text().splitlines()
    copied = [
        part for line in lines if line.startswith("COPY ") and "--from" not in line for part in line.split()[1:-1]
    ]
    assert all((ROOT / path).exists() for path in copied)
    user, command = (max(n for n, line in enumerate(lines) if line.startswith(word)) for word in ("USER ", "CMD "))
    assert lines[user] != "USER root"
    assert user < command


def test_the_image_gets_all_that_is_installed_and_nothing_secret() -> None:
    let_in = {
        line[1:] for line in (ROOT / "ops/docker/Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    assert let_in == packages | needed


# -- Prometheus


def test_prometheus_accepts_its_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here")
    run = subprocess.run(
        [promtool, "check", "config", ROOT / "ops/prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_prometheus_looks_for_both_tiers_where_they_listen(compose: dict[str, Any]) -> None:
    content = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
    found = {
        name: search["port"]
        for job in content["scrape_configs"]
        for search in job.get("dns_sd_configs", [])
        for name in search["names"]
    }
    environment = compose["services"]["api"]["environment"]
    metrics_port = int(environment["WORKER_METRICS_PORT"])
    workers = dict.fromkeys(("worker", "bulk", "time"), metrics_port)
    assert found == {"api": int(environment["PORT"]), **workers}


def test_every_queue_has_a_worker(compose: dict[str, Any]) -> None:
    served = [
        queue
        for name in OURS
        for option, queue in itertools.pairwise(compose["services"][name]["command"])
        if option == "--queue"
    ]
    assert sorted(served) == sorted(QUEUES)


# -- Grafana


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row")


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def measured() -> dict[str, set[str]]:
    """Series name → its labels, for every metric of core/metrics.py."""
    found: dict[str, set[str]] = {}
    for metric in vars(importlib.import_module("core.metrics")).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        name, labels = metric._name, set(metric._labelnames)
        if isinstance(metric, Histogram):
            found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[f"{name}_total" if isinstance(metric, Counter) else name] = labels
    return found


def test_every_series_drawn_is_measured_with_the_labels_it_is_grouped_by() -> None:
    series = measured()
    given_by_prometheus = {"job", "instance"}
    for expression in expressions():
        for name in re.findall(r"\btenfold_\w+", expression):
            assert name in series, expression
            for group in re.findall(r"by \(([^)]*)\)", expression):
                assert {label.strip() for label in group.split(",")} <= series[name] | given_by_prometheus, expression


def test_every_metric_is_drawn() -> None:
    drawn = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for text in expressions()
        for name in re.findall(r"\btenfold_\w+", text)
    }
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in measured()} == drawn


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here")
    rules = [
        {"record": f"panel:{n}", "expr": text.replace("$__rate_interval", "1m")} for n, text in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_panels_have_titles_ids_of_their_own_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    found = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        assert panel["title"]
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_grafana_finds_the_dashboard_and_its_source(compose: dict[str, Any]) -> None:
    provisioning = ROOT / "ops/grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"][0]
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards/tenfold.yml").read_text())["providers"][0]
    mounts = dict(mount.split(":")[:2] for mount in compose["services"]["grafana"]["volumes"])
    assert mounts["./ops/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./ops/grafana/provisioning"] == "/etc/grafana/provisioning"

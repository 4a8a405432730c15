"""Metric names follow the conventions (https://prometheus.io/docs/practices/naming/), and all are in one file."""

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from core import metrics

METRICS = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
UNITS = ("_seconds", "_bytes", "_commands", "_total", "_info", "_ratio")
# Gauges that count things are named after these things.
COUNTED = ("_in_flight", "_connections", "_entries", "_jobs", "_suspect", "_events")


def full_name(metric: MetricWrapperBase) -> str:
    return metric._name + ("_total" if isinstance(metric, Counter) else "")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_has_our_prefix_a_unit_and_an_explanation(metric: MetricWrapperBase) -> None:
    name = full_name(metric)
    assert re.fullmatch(r"tenfold_[a-z]+(_[a-z]+)*", name), name
    assert name.endswith(UNITS + COUNTED), f"{name} ends in no unit"
    assert not re.search(r"_(ms|milliseconds|minutes|kb|megabytes|percent)(_|$)", name), "base units only"
    assert metric._documentation[0].isupper() or metric._documentation[0].isdigit()
    assert metric._documentation.endswith(".")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_labels_are_few_plain_and_not_part_of_the_name(metric: MetricWrapperBase) -> None:
    assert len(metric._labelnames) <= 3
    for label in metric._labelnames:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label)
        assert label not in {"user", "user_id", "path", "job", "id", "instance", "le", "quantile"}, (
            "unbounded, or Prometheus's own"
        )


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_kind_of_metric_is_told_by_its_name(metric: MetricWrapperBase) -> None:
    name = full_name(metric)
    assert isinstance(metric, Counter | Gauge | Histogram)
    assert name.endswith("_total") == isinstance(metric, Counter)
    if isinstance(metric, Gauge):
        # With several API processes each gauge says how theirs become one, and forgets those that ended.
        assert metric._multiprocess_mode.startswith("live"), name
    if isinstance(metric, Histogram) and name.endswith("_seconds"):
        assert metric._upper_bounds[0] <= 0.001
        assert metric._upper_bounds[-2] >= 10


def test_metrics_are_declared_in_one_file_alone() -> None:
    root = Path(__file__).parents[2]
    for package in ("api", "worker", "core"):
        for file in (root / package).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            made = {ast.unparse(call.func) for call in calls}
            declares = bool(made & {"Counter", "Gauge", "Histogram", "Summary", "Info"})
            assert declares == (file == root / "core" / "metrics.py"), file


def test_every_metric_is_used() -> None:
    root = Path(__file__).parents[2]
    text = "".join(
        file.read_text() for package in ("api", "worker", "core", "ops") for file in (root / package).rglob("*.py")
    )
    assert [name for name in METRICS if f"metrics.{name}" not in text] == []

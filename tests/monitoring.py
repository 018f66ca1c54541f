"""What the monitoring files of deploy/ ask Prometheus for, and what a worker and the HTTP API give it."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import ROOT

DASHBOARD = ROOT / "deploy/grafana/dashboards/seedmill.json"
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
OF_THE_TARGET = {"instance", "job"}
"""Labels that Prometheus adds to what it has read."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def is_of_the_api(text: str) -> bool:
    """Whether a metric is the HTTP API's, or a query asks for one."""
    return "seedmill_api_" in text or "seedmill_webhook_" in text


def queries() -> Iterator[tuple[str, str]]:
    """Yield each query with the panel or the alert that it is of."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']!r}", target["expr"]
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


def as_prometheus_gets_it(query: str) -> str:
    """Return a query with Grafana's variables filled in."""
    return query.replace("$__rate_interval", "1m").replace("$instance", ".*")


class _Seen:
    """Gathers what is read and what is grouped by."""

    def __init__(self) -> None:
        self.selectors: list[Any] = []
        self.labels: set[str] = set()

    def __call__(self, node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            self.selectors.append(node)
        elif isinstance(node, promql.AggregateExpr):
            self.labels |= set(node.modifier.labels if node.modifier else ())
            self(node.expr)
        elif isinstance(node, promql.Call):
            for argument in node.args:
                self(argument)
        elif isinstance(node, promql.BinaryExpr):
            self(node.lhs)
            self(node.rhs)
        elif isinstance(node, promql.MatrixSelector):
            self(node.vector_selector)
        elif isinstance(node, promql.ParenExpr):
            self(node.expr)
        else:
            assert isinstance(node, promql.NumberLiteral | promql.StringLiteral), type(node)


def unanswered(query: str, samples: Samples) -> list[str]:
    """Return what a query reads and groups by that the samples do not have."""
    seen = _Seen()
    seen(promql.parse(as_prometheus_gets_it(query)))
    assert seen.selectors, f"{query} reads nothing"
    missing = []
    labels: set[str] = set(OF_THE_TARGET)
    for selector in seen.selectors:
        wanted = {
            matcher.name: matcher.value
            for matcher in selector.matchers.matchers
            if matcher.op == promql.MatchOp.Equal and matcher.name not in OF_THE_TARGET
        }
        found = [dict(pairs) for name, pairs in samples if name == selector.name]
        if not any(wanted.items() <= pairs.items() for pairs in found):
            missing.append(f"{selector.name}{wanted or ''}")
        labels.update(*found)
    return missing + sorted(seen.labels - labels)


def scrape(port: int, host: str = "127.0.0.1") -> Samples:
    """Return what is given on /metrics of a port."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
        return parse(answer.read().decode())


def parse(text: str) -> Samples:
    """Return what stands in a text in Prometheus' format."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return one sample."""
    return samples[name, tuple(sorted(labels.items()))]


def types_of(text: str) -> Mapping[str, str]:
    """Return the metrics of ours in a text in Prometheus' format, with their types; each has its help."""
    found = dict(re.findall(r"^# TYPE (seedmill_\w+) (\w+)$", text, re.MULTILINE))
    assert set(re.findall(r"^# HELP (seedmill_\w+) .", text, re.MULTILINE)) == set(found)
    return found


def documented(*, api: bool = False) -> Mapping[str, str]:
    """Return the metrics of a worker, or of the API, that docs/monitoring.md lists, with their types."""
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(seedmill_\w+)` \| (counter|gauge|histogram) \|", text, re.MULTILINE)
    return {name: type_ for name, type_ in rows if is_of_the_api(name) == api}

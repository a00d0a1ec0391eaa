"""Scraping, as Prometheus does it."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from manyhands.metrics import Exporter
from tests.support.waiting import PATIENCE


def scrape(exporter: Exporter) -> dict[str, float]:
    """Return the figures by their names, with labels as the page has them."""
    return figures_at(f"{exporter.addresses[0]}/metrics".replace("tcp:", "http:"))


def figures_at(url: str) -> dict[str, float]:
    """Scrape a page; return its figures by their names."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        text = response.read().decode()
    return {
        _named(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _named(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name

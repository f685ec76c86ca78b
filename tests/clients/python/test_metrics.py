"""The pages `/metrics`, as a parser of OpenMetrics reads them."""

import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def scrape(daemon, part):
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.ports[part]}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        return list(text_string_to_metric_families(answer.read().decode()))


@pytest.mark.parametrize("part, ready", [("broker", "bridge_ready"), ("edge", "bridge_edge_ready")])
def test_a_parser_of_openmetrics_reads_the_page(daemon, part, ready):
    families = scrape(daemon, part)
    by_name = {family.name: family for family in families}
    assert len(by_name) == len(families), "a family stands twice"
    assert by_name[ready].samples[0].value == 1
    assert all(family.documentation.endswith(".") for family in families)

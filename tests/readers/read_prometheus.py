#!/usr/bin/env python3
"""Reads Prometheus text format 0.0.4, twice, and prints the series.

Usage: read_prometheus.py FILE

Once by prometheus_client and once by exposition.py, which also checks what
that library does not: duplicate series, TYPE missing, twice or after its
samples, families that are interleaved, histograms that contradict themselves,
negative or NaN counts, unknown escapes, timestamps, a missing last line end.
"""

from prometheus_client.parser import text_string_to_metric_families

import exposition
import series

DIALECT = exposition.Dialect(
    help_escapes="\\n",
    metadata=("HELP", "TYPE"),
    suffixes={
        "counter": ("",),
        "gauge": ("",),
        "untyped": ("",),
        "histogram": ("_bucket", "_sum", "_count"),
        "summary": ("", "_sum", "_count"),
    },
)


def read(text):
    scan = exposition.Scan(text, DIALECT)
    if text and not text.endswith("\n"):
        scan.problems.append("no line end after the last line")
    scan.compare_with(text_string_to_metric_families, text)
    return scan.entries, scan.problems


if __name__ == "__main__":
    series.run(read)

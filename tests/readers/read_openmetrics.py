#!/usr/bin/env python3
"""Reads OpenMetrics 1.0, twice, and prints the series.

Usage: read_openmetrics.py FILE

Once by prometheus_client's strict parser and once by exposition.py, which also
checks what that parser accepts: duplicate series, escapes like \\q, timestamps,
le="1" for le="1.0", anything after or instead of a final "# EOF\\n".
"""

import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families

import exposition
import series

EOF = "# EOF\n"
DIALECT = exposition.Dialect(
    help_escapes='\\n"',
    metadata=("HELP", "TYPE", "UNIT"),
    suffixes={
        "counter": ("_total", "_created"),
        "gauge": ("",),
        "unknown": ("",),
        "histogram": ("_bucket", "_sum", "_count", "_created"),
        "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
        "summary": ("", "_sum", "_count", "_created"),
        "info": ("_info",),
        "stateset": ("",),
    },
)


def read(text):
    if not ("\n" + text).endswith("\n" + EOF):
        return [], ["does not end with the line # EOF"]
    scan = exposition.Scan(text.removesuffix(EOF), DIALECT)
    for sample in scan.samples:
        bound = sample.labels.get("le")
        # 1 and 1.0 would be two series to a scraper that compares text.
        if bound is not None and re.fullmatch(r"[+-]?[0-9]+", bound):
            scan.problems.append(f"line {sample.line}: le is not a float: {bound!r}")
    for name, (number, unit) in scan.metadata["UNIT"].items():
        if not name.endswith("_" + unit):
            scan.problems.append(f"line {number}: {name} does not end with its unit {unit!r}")
    scan.compare_with(text_string_to_metric_families, text)
    return scan.entries, scan.problems


if __name__ == "__main__":
    series.run(read)

#!/usr/bin/env python3
"""Reads the json exporter's document with Python's json module.

Usage: read_json.py FILE

    {"timestamp": RFC 3339, "total_metrics": n, "metadata": {..},
     "metrics": [{"name", "type", "help"?, "unit"?, "labels": {..}, "value": number or "NaN"/"+Inf"/"-Inf"},
                 {"name", "type": "histogram", "labels", "count", "sum",
                  "buckets": [{"le": 128, "count": 3}, .., {"le": "+Inf", "count": 10}]}]}

Buckets are cumulative. `metadata` may be left out (include_metadata = false).
"""

import json
import re

import series

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
SPECIAL = ("NaN", "+Inf", "-Inf")


def no_constant(text):
    # Python reads and writes NaN and Infinity, which are not JSON.
    raise ValueError(f"not JSON: {text}")


def unique(pairs):
    found = {}
    for key, item in pairs:
        if key in found:
            raise ValueError(f"duplicate key: {key!r}")
        # JSON can spell half a surrogate pair, UTF-8 cannot: encode() refuses it.
        key.encode()
        if isinstance(item, str):
            item.encode()
        found[key] = item
    return found


def value(found):
    if found in SPECIAL and isinstance(found, str):
        return found
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ValueError(f"not a value: {found!r}")
    # 1e999 is a JSON number that no double holds: Python makes it infinite.
    if isinstance(found, float) and series.spelled(found) in SPECIAL:
        raise ValueError("a number beyond what a double holds")
    return found


def labels_of(metric):
    labels = metric["labels"]
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise ValueError("labels are no object of strings")
    return labels


def expand(metric):
    """The metric as series; KeyError names a field that is missing."""
    name, kind, labels = metric["name"], metric["type"], labels_of(metric)
    if not isinstance(name, str) or not name:
        raise ValueError("name is no text")
    if kind not in series.KINDS:
        raise ValueError(f"unknown type {kind!r}")
    for text in ("help", "unit"):
        if not isinstance(metric.get(text, ""), str):
            raise ValueError(f"{text} is no text")
    if kind != "histogram":
        found = value(metric["value"])
        if kind == "counter" and (found in ("NaN", "-Inf") or found != "+Inf" and found < 0):
            raise ValueError(f"a counter that is negative or NaN: {found}")
        return [series.entry(name, labels, found)]
    entries = [
        series.entry(f"{name}_bucket", {**labels, "le": series.le(value(bucket["le"]))}, value(bucket["count"]))
        for bucket in metric["buckets"]
    ]
    entries.append(series.entry(f"{name}_sum", labels, value(metric["sum"])))
    entries.append(series.entry(f"{name}_count", labels, value(metric["count"])))
    problems = list(series.histogram_problems(entries, name))
    if problems:
        raise ValueError("; ".join(problems))
    return entries


def read(text):
    try:
        document = json.loads(text, parse_constant=no_constant, object_pairs_hook=unique)
    except ValueError as error:
        return [], [str(error)]
    if not isinstance(document, dict):
        return [], ["the document is no object"]
    entries, problems = [], []
    if not RFC3339.fullmatch(str(document.get("timestamp"))):
        problems.append(f"timestamp is not RFC 3339: {document.get('timestamp')!r}")
    if not isinstance(document.get("metadata", {}), dict):
        problems.append("metadata is no object")
    metrics = document.get("metrics")
    if not isinstance(metrics, list):
        return [], problems + ["metrics is no array"]
    if document.get("total_metrics") != len(metrics):
        problems.append(f"total_metrics is {document.get('total_metrics')}, metrics has {len(metrics)}")
    for number, metric in enumerate(metrics):
        try:
            entries += expand(metric)
        except (ValueError, TypeError) as error:
            problems.append(f"metrics[{number}]: {error}")
        except KeyError as error:
            problems.append(f"metrics[{number}]: {error} missing")
    return entries, problems + series.duplicates(entries)


if __name__ == "__main__":
    series.run(read)

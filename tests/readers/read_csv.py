#!/usr/bin/env python3
"""Reads the csv exporter's default layout with Python's csv module.

Usage: read_csv.py FILE

Columns timestamp,name,type,value,labels; labels is a JSON object. A histogram
comes as rows name_bucket (with a label le), name_sum and name_count, each of
type histogram.
"""

import csv
import io
import json

import read_json
import series

COLUMNS = ["timestamp", "name", "type", "value", "labels"]
PARTS = ("_bucket", "_sum", "_count")


def row_entry(row):
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} columns")
    timestamp, name, kind, text, labels = row
    if not read_json.RFC3339.fullmatch(timestamp):
        raise ValueError(f"timestamp is not RFC 3339: {timestamp!r}")
    if kind not in series.KINDS:
        raise ValueError(f"unknown type {kind!r}")
    if not name or kind == "histogram" and not name.endswith(PARTS):
        raise ValueError(f"bad name {name!r} for a {kind}")
    labels = read_json.labels_of({"labels": json.loads(labels, object_pairs_hook=read_json.unique)})
    if kind == "histogram" and name.endswith("_bucket"):
        if "le" not in labels:
            raise ValueError("bucket without le")
        labels["le"] = series.le(labels["le"])
    value = series.number(text)
    if kind == "counter" and (value in ("NaN", "-Inf") or value != "+Inf" and value < 0):
        raise ValueError(f"a counter that is negative or NaN: {value}")
    return series.entry(name, labels, value)


def histogram_name(name):
    return next(name.removesuffix(part) for part in PARTS if name.endswith(part))


def read(text):
    entries, problems, histograms = [], [], set()
    # newline="" hands line ends inside quotes to the csv module as they are.
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        if next(rows, None) != COLUMNS:
            problems.append("the first row does not name the columns " + ",".join(COLUMNS))
        for row in rows:
            try:
                entry = row_entry(row)
            except ValueError as error:
                problems.append(f"line {rows.line_num}: {error}")
                continue
            entries.append(entry)
            if row[2] == "histogram":
                histograms.add(histogram_name(row[1]))
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    problems += series.duplicates(entries)
    for name in sorted(histograms):
        problems += series.histogram_problems(entries, name)
    return entries, problems


if __name__ == "__main__":
    series.run(read)

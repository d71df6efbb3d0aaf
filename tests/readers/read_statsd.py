#!/usr/bin/env python3
"""Reads StatsD lines with DogStatsD tags, as statsd_lines.c writes them.

Usage: read_statsd.py FILE

One sample a line, `NAME:VALUE|TYPE` or `NAME:VALUE|TYPE|#KEY:VALUE,KEY:VALUE`:
a counter is `|c` with its absolute value, a gauge `|g`. A histogram is
`NAME_bucket:..|c|#..,le:BOUND` for each bound (cumulative, `le:+Inf` last),
`NAME_sum:..|c` (a float is allowed) and `NAME_count:..|c`.

The sanitising rule, the same for plugin and readers, character by character:
- in a name each of : | @ # and each control character becomes _
- in a tag's key and value each of , | # : and each control character becomes _
- control characters are U+0000 to U+001F and U+007F; nothing else is touched
Two series can become one by that: their values are summed here.
"""

import re

import series

LINE = re.compile(r"([^:|@#\x00-\x1f\x7f]+):([^|]+)\|([cg])(?:\|#(.+))?")
TAG = re.compile(r"([^,|#:\x00-\x1f\x7f]+):([^,|#:\x00-\x1f\x7f]*)")


def sanitised_name(name):
    return re.sub(r"[:|@#\x00-\x1f\x7f]", "_", name)


def sanitised_tag(text):
    return re.sub(r"[,|#:\x00-\x1f\x7f]", "_", text)


def sanitised(entries):
    """The series as StatsD can carry them, those that collide summed."""
    sums = {}
    for e in entries:
        name = sanitised_name(e["name"])
        labels = {sanitised_tag(k): sanitised_tag(v) for k, v in e["labels"].items()}
        merged = sums.setdefault(series.key(name, labels), series.entry(name, labels, 0))
        merged["value"] = add(merged["value"], e["value"])
    return list(sums.values())


def add(a, b):
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return series.spelled(float(a) + float(b))


def tags_of(text):
    labels = {}
    for tag in text.split(","):
        match = TAG.fullmatch(tag)
        if not match:
            raise ValueError(f"bad tag {tag!r}")
        if match[1] in labels:
            raise ValueError(f"tag {match[1]} twice")
        labels[match[1]] = match[2]
    return labels


def line_entry(line):
    match = LINE.fullmatch(line)
    if not match:
        raise ValueError("not NAME:VALUE|TYPE|#TAGS")
    name, text, kind, tags = match.groups()
    value = series.number(text)
    if isinstance(value, str):
        raise ValueError(f"StatsD has no {value}")
    # A plus makes a gauge a delta to StatsD servers; a counter never falls.
    if text[0] == "+" or kind == "c" and value < 0:
        raise ValueError(f"signed value {text}")
    labels = tags_of(tags) if tags else {}
    if name.endswith("_bucket") and "le" in labels:
        labels["le"] = series.le(labels["le"])
    return series.entry(name, labels, value)


def read(text):
    entries, problems = [], []
    if text and not text.endswith("\n"):
        problems.append("no line end after the last line")
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        try:
            entries.append(line_entry(line))
        except ValueError as error:
            problems.append(f"line {number}: {error}: {line[:200]!r}")
    return sanitised(entries), problems


if __name__ == "__main__":
    series.run(read)

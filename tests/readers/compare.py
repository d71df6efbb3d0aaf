#!/usr/bin/env python3
"""Compares two canonical JSON files; lists the differences and exits 1 if any.

Usage: compare.py A.json B.json [--sanitised] [--only PREFIX]...

Values are compared exactly: 3 equals 3.0, 9007199254740993 does not equal
9007199254740992.0.

--sanitised   both sides are first sanitised as StatsD demands (read_statsd.py)
--only PREFIX keep the series whose names begin with PREFIX; may be repeated
"""

import argparse
import json
import sys

import read_statsd
import series


def load(path, options):
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)
    if options.only:
        entries = [e for e in entries if e["name"].startswith(tuple(options.only))]
    if options.sanitised:
        entries = read_statsd.sanitised(entries)
    # Two empty sides would agree about nothing.
    if not entries:
        sys.exit(f"{path}: no series to compare")
    if series.duplicates(entries):
        sys.exit(f"{path}: {series.duplicates(entries)[0]}")
    return {series.key(e["name"], e["labels"]): e["value"] for e in entries}


def differences(a, b):
    for key in sorted(a.keys() | b.keys()):
        left, right = a.get(key, "absent"), b.get(key, "absent")
        if left != right:
            yield f"{key[0]} {json.dumps(dict(key[1]), ensure_ascii=False)}: {left} | {right}"


def main():
    parser = argparse.ArgumentParser(description="compares two canonical JSON files")
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--sanitised", action="store_true")
    parser.add_argument("--only", metavar="PREFIX", action="append")
    options = parser.parse_args()
    found = list(differences(load(options.a, options), load(options.b, options)))
    if found:
        print(f"{options.a} | {options.b}: {len(found)} differences", file=sys.stderr)
        print("\n".join(found), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

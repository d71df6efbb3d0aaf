"""What all readers share: series as canonical JSON, numbers without loss.

A series is {"name": .., "labels": {..}, "value": ..}. Histograms are expanded
to _bucket (label le), _sum and _count. Integers stay integers of any size;
NaN and the infinities are the strings "NaN", "+Inf", "-Inf", because JSON has
no numbers for them.
"""

import json
import math
import re
import sys

KINDS = ("counter", "up_down_counter", "gauge", "histogram")


def number(text):
    """The value of a number's text; ValueError where it is none."""
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if text in ("NaN", "+Inf", "-Inf"):
        return text
    # Python's float() takes more than any format allows: "1_0", " 1", "infinity".
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise ValueError(f"not a number: {text!r}")
    return spelled(float(text))


def spelled(value):
    """A float as it stands in canonical JSON."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return value


def le(bound):
    """A bucket's bound as the label value that all readers agree on."""
    value = float(number(bound) if isinstance(bound, str) else bound)
    if math.isnan(value):
        raise ValueError("a bound that is NaN")
    return "+Inf" if value == math.inf else repr(value)


def entry(name, labels, value):
    return {"name": name, "labels": labels, "value": value}


def key(name, labels):
    """What identifies a series: the order of labels does not matter."""
    return name, tuple(sorted(labels.items()))


def duplicates(entries):
    """One problem for each series that comes twice."""
    seen, problems = set(), []
    for e in entries:
        k = key(e["name"], e["labels"])
        if k in seen:
            problems.append(f"duplicate series: {e['name']} {e['labels']}")
        seen.add(k)
    return problems


def histogram_problems(entries, name):
    """What is wrong with the expanded histogram `name` in the entries."""
    groups = {}
    for e in entries:
        suffix = e["name"].removeprefix(name)
        if not e["name"].startswith(name) or suffix not in ("_bucket", "_sum", "_count"):
            continue
        rest = {k: v for k, v in e["labels"].items() if k != "le"}
        group = groups.setdefault(key(name, rest), {"_bucket": []})
        if suffix == "_bucket":
            group["_bucket"].append((e["labels"].get("le"), e["value"]))
        else:
            group[suffix] = e["value"]
    for (_, labels), group in groups.items():
        for problem in group_problems(group):
            yield f"histogram {name} {dict(labels)}: {problem}"


def group_problems(group):
    # OpenMetrics forbids both where a bound is negative: the sum may then fall.
    negative = any(bound is not None and float(bound) < 0 for bound, _ in group["_bucket"])
    if not (negative and "_sum" not in group and "_count" not in group):
        for part in ("_sum", "_count"):
            if part not in group:
                yield f"{part} missing"
    if any(bound is None for bound, _ in group["_bucket"]):
        yield "bucket without le"
        return
    bounds = [float(bound) for bound, _ in group["_bucket"]]
    counts = [float(count) for _, count in group["_bucket"]]
    if bounds != sorted(bounds):
        yield "buckets not in the order of their bounds"
    if any(not count >= 0 for count in counts):
        yield "negative or NaN bucket"
    if any(after < before for before, after in zip(counts, counts[1:])):
        yield "cumulative buckets decrease"
    if math.inf not in bounds:
        yield "+Inf bucket missing"
    elif "_count" in group and dict(group["_bucket"])["+Inf"] != group["_count"]:
        yield "+Inf bucket differs from _count"


def canonical(entries):
    ordered = sorted(entries, key=lambda e: key(e["name"], e["labels"]))
    lines = [json.dumps(e, ensure_ascii=False, sort_keys=True, allow_nan=False) for e in ordered]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def print_canonical(entries):
    # Whatever the locale: a lone C locale must not change the bytes.
    sys.stdout.buffer.write(canonical(entries).encode())


def read_text(path):
    """The file as text, line ends untouched; not UTF-8 is a problem, not a crash."""
    with open(path, "rb") as file:
        return file.read().decode("utf-8")


def run(read):
    """The main program of a reader: canonical JSON, or every problem and exit 1."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FILE")
    try:
        entries, problems = read(read_text(sys.argv[1]))
    except UnicodeDecodeError as error:
        entries, problems = [], [f"not UTF-8: {error}"]
    for problem in problems:
        print(f"{sys.argv[1]}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print_canonical(entries)

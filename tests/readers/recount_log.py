#!/usr/bin/env python3
"""Recounts an access log by the rules of examples/README.md.

Usage: recount_log.py LOG

Written from the rules alone, in another language than the demo host, so that
two independent readings of one text have to agree.
"""

import re
import sys
from collections import Counter

import series

QUOTED = rb'"((?:[^"\\]|\\.)*)"'
LINE = re.compile(
    rb'[^ "]+ - [^"]+ \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
    + QUOTED + rb" ([1-5]\d\d) (\d{1,15}|-) " + QUOTED + b" " + QUOTED,
    re.DOTALL,
)
LONGEST_LINE = 65536
LONGEST_ROUTE = 120
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
BOUNDS = (128, 512, 1024, 4096, 16384, 65536, 262144, 1048576)


def unescape(text):
    """Undoes nginx's escapes; any other backslash stands for itself."""
    return re.sub(
        rb'\\(?:x([0-9A-Fa-f]{2})|([\\"]))',
        lambda m: bytes([int(m[1], 16)]) if m[1] else m[2],
        text,
    )


def route_of(target):
    """The route label; raises UnicodeDecodeError where the path is not UTF-8."""
    if not target.startswith(b"/"):
        return "none"
    path = unescape(target.split(b"?")[0]).decode("utf-8")
    segments = [segment for segment in path.split("/") if segment][:2]
    route = "/" + "/".join(":id" if re.fullmatch("[0-9]+", segment) else segment for segment in segments)
    return route.encode()[:LONGEST_ROUTE].decode("utf-8", "ignore")


def parse(line):
    """(method, status class, route, bytes), or None for a malformed line."""
    match = LINE.fullmatch(line)
    if not match or len(line) > LONGEST_LINE or b"\0" in line:
        return None
    method, route = "other", "none"
    parts = match[1].split(b" ")
    if len(parts) == 3 and parts[2].startswith(b"HTTP/"):
        named = parts[0].decode("latin-1")
        method = named if named in METHODS else "other"
        try:
            route = route_of(parts[1])
        except UnicodeDecodeError:
            return None
    size = 0 if match[3] == b"-" else int(match[3])
    return method, chr(match[2][0]) + "xx", route, size


def recount(lines):
    """Every series that the demo host must end with."""
    counts = Counter({("lines_total",): 0, ("malformed_lines_total",): 0})
    for line in lines:
        counts["lines_total",] += 1
        parsed = parse(line.removesuffix(b"\n"))
        if parsed is None:
            counts["malformed_lines_total",] += 1
            continue
        method, status, route, size = parsed
        counts["http_requests_total", ("method", method), ("route", route), ("status", status)] += 1
        counts["http_response_bytes_total", ("route", route)] += size
        by_method = ("method", method)
        counts["http_response_size_bytes_sum", by_method] += size
        counts["http_response_size_bytes_count", by_method] += 1
        for bound in (*BOUNDS, float("inf")):
            bucket = "http_response_size_bytes_bucket", by_method, ("le", series.le(bound))
            counts[bucket] += size <= bound
    return [series.entry(name, dict(labels), value) for (name, *labels), value in counts.items()]


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as log:
        series.print_canonical(recount(log))

"""The text formats' second reader: a strict scanner of our own.

prometheus_client reads the same text; this scanner finds what that library
lets pass, keeps the digits of each value (the library makes floats of them),
and has to agree with it on every series. Strict also means canonical: single
spaces, no blank lines, no comments but HELP, TYPE and UNIT.
"""

import re
from collections import Counter
from typing import NamedTuple

import series

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
UNESCAPED = {"\\": "\\", "n": "\n", '"': '"'}
# A label set may be this long in an exemplar, names and values together.
EXEMPLAR_RUNES = 128


class Dialect(NamedTuple):
    """Where the two text formats differ."""

    help_escapes: str
    metadata: tuple
    suffixes: dict


class Sample(NamedTuple):
    line: int
    name: str
    labels: dict
    text: str


class Scan:
    """One pass over the text; `problems` says what was wrong, line by line."""

    def __init__(self, text, dialect):
        self.dialect = dialect
        self.problems = []
        self.metadata = {keyword: {} for keyword in dialect.metadata}
        self.samples = []
        # In the order of the text: (line, what the line names, is it a sample).
        self.mentions = []
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                if line.startswith("#"):
                    self.comment(number, line)
                else:
                    self.sample(number, line)
            except ValueError as error:
                self.problems.append(f"line {number}: {error}: {line[:200]!r}")
        self.types = {name: kind for name, (_, kind) in self.metadata["TYPE"].items()}
        self.check_families()
        self.entries = [self.entry(s) for s in self.samples]
        self.problems += series.duplicates(self.entries)
        for name, kind in self.types.items():
            if kind == "histogram":
                self.problems += series.histogram_problems(self.entries, name)

    def comment(self, number, line):
        # The split is at spaces alone: text may hold other white space.
        marker, keyword, *rest = line.split(" ", 2)
        if marker != "#" or keyword not in self.metadata or not rest:
            raise ValueError("neither HELP, TYPE nor UNIT")
        name, at = self.name(rest[0], 0)
        value = rest[0][at:]
        if not value.startswith(" "):
            raise ValueError(f"{keyword} without text")
        value = value[1:]
        if keyword == "HELP":
            unescape(value, self.dialect.help_escapes)
        if keyword == "TYPE" and value not in self.dialect.suffixes:
            raise ValueError("unknown type")
        if name in self.metadata[keyword]:
            raise ValueError(f"second {keyword} for {name}")
        self.metadata[keyword][name] = number, value
        self.mentions.append((number, name, False))

    def name(self, text, at):
        """A family's name, bare or quoted, and where it ends."""
        quoted = STRING.match(text, at)
        if quoted:
            return unescape(quoted[1]), quoted.end()
        bare = NAME.match(text, at)
        if not bare:
            raise ValueError("no name")
        return bare[0], bare.end()

    def sample(self, number, line):
        bare = NAME.match(line)
        name, at = (bare[0], bare.end()) if bare else (None, 0)
        labels = {}
        if line[at : at + 1] == "{":
            quoted_name, labels, at = label_set(line, at)
            if (name is None) == (quoted_name is None):
                raise ValueError("a name once, before or in the braces")
            name = name or quoted_name
        if name is None:
            raise ValueError("no name")
        value, mark, exemplar = line[at:].partition(" # ")
        if not value.startswith(" ") or " " in value[1:]:
            raise ValueError("timestamp, or not one space before the value")
        series.number(value[1:])
        if mark:
            self.exemplar(name, exemplar)
        self.samples.append(Sample(number, name, labels, value[1:]))
        self.mentions.append((number, name, True))

    def exemplar(self, name, text):
        _, labels, at = label_set(text, 0)
        runes = sum(len(k) + len(v) for k, v in labels.items())
        if runes > EXEMPLAR_RUNES:
            raise ValueError(f"exemplar of {runes} characters")
        value, *timestamp = text[at:].removeprefix(" ").split(" ")
        series.number(value)
        # Seconds since 1970 have ten digits; milliseconds are a common slip.
        if timestamp and abs(float(timestamp[0])) > 1e11:
            raise ValueError("exemplar's timestamp is not in seconds")
        if not name.endswith(("_total", "_bucket")):
            raise ValueError("exemplar on neither _total nor _bucket")

    def family_of_samples(self):
        """The family that each possible sample name belongs to."""
        families = {}
        for family, kind in self.types.items():
            for suffix in self.dialect.suffixes[kind]:
                if families.setdefault(family + suffix, family) != family:
                    self.problems.append(f"{family} and {families[family + suffix]} clash in {family + suffix}")
        return families

    def check_families(self):
        families = self.family_of_samples()
        current, closed = None, set()
        for number, name, is_sample in self.mentions:
            family = families.get(name) if is_sample else name
            if family is None:
                self.problems.append(f"line {number}: {name} belongs to no TYPE")
                family = name
            elif is_sample and self.metadata["TYPE"][family][0] > number:
                self.problems.append(f"line {number}: TYPE of {family} after its samples")
            if family != current:
                if family in closed:
                    self.problems.append(f"line {number}: {family} is interleaved with another family")
                closed.add(current)
                current = family
        for s in self.samples:
            kind = self.types.get(families.get(s.name))
            counts = kind == "counter" or kind == "histogram" and not s.name.endswith("_sum")
            if counts and not float(s.text) >= 0:
                self.problems.append(f"line {s.line}: a count that is negative or NaN: {s.text}")

    def entry(self, s):
        labels = dict(s.labels)
        if "le" in labels and s.name.endswith("_bucket"):
            try:
                labels["le"] = series.le(labels["le"])
            except ValueError:
                self.problems.append(f"line {s.line}: le is no number: {labels.pop('le')!r}")
        return series.entry(s.name, labels, series.number(s.text))

    def compare_with(self, parse, text):
        """The library's reading of the text must be ours, series by series."""
        try:
            theirs = Counter(
                fingerprint(s.name, s.labels, s.value) for family in parse(text) for s in family.samples
            )
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self.problems.append(f"prometheus_client: {error!r}")
            return
        ours = Counter(fingerprint(s.name, s.labels, float(s.text)) for s in self.samples)
        if not self.problems and theirs != ours:
            difference = list((ours - theirs) + (theirs - ours))[:3]
            self.problems.append(f"prometheus_client reads other series: {difference}")


def fingerprint(name, labels, value):
    # The library appends _total to counters of 0.0.4 that lack it.
    return name.removesuffix("_total"), tuple(sorted(labels.items())), repr(float(value))


def unescape(text, allowed='\\n"'):
    def one(match):
        if match[1] not in allowed:
            raise ValueError(f"bad escape \\{match[1]}")
        return UNESCAPED[match[1]]

    if re.search(r"(?<!\\)(\\\\)*\\$", text):
        raise ValueError("backslash at the end")
    return re.sub(r"\\(.)", one, text, flags=re.DOTALL)


def label_set(line, at):
    """(quoted name or None, labels, end) of the braces that open at `at`."""
    if line[at : at + 1] != "{":
        raise ValueError("no label set")
    name, labels = None, {}
    at += 1
    while line[at : at + 1] != "}":
        if (labels or name) and line[at : at + 1] != ",":
            raise ValueError("no comma between labels")
        at += bool(labels or name)
        quoted = STRING.match(line, at)
        if quoted and line[quoted.end() : quoted.end() + 1] != "=":
            if name or labels:
                raise ValueError("a quoted name stands first")
            name, at = unescape(quoted[1]), quoted.end()
            continue
        key = quoted or LABEL_NAME.match(line, at)
        value = key and STRING.match(line, key.end() + 1)
        if not value or line[key.end()] != "=":
            raise ValueError("bad label")
        key = unescape(key[1]) if quoted else key[0]
        if key in labels:
            raise ValueError(f"label {key} twice")
        labels[key] = unescape(value[1])
        at = value.end()
    return name, labels, at + 1

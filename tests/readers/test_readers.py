"""Proves that every check of the readers can fail, and that good input passes.

Run with the interpreter that has prometheus_client:
    .venv/bin/python -m unittest discover -s tests/readers
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import compare  # noqa: E402
import read_csv  # noqa: E402
import read_json  # noqa: E402
import read_openmetrics  # noqa: E402
import read_prometheus  # noqa: E402
import read_statsd  # noqa: E402
import recount_log  # noqa: E402
import series  # noqa: E402

LOGS = HERE.parent.parent / "examples" / "data"
HOSTILE = 'q"b\\s\nn\tt,{}=#: /# x é茶\u202e\x00\r\u2028'
BIG = 2**53 + 1


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, HERE / script, *map(str, arguments)],
        capture_output=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )


class ReaderTest(unittest.TestCase):
    """Good input reads as expected; bad input names its problem."""

    def reads(self, reader, text, expected):
        entries, problems = reader.read(text)
        self.assertEqual([], problems)
        self.assertEqual(series.canonical(expected), series.canonical(entries))

    def refuses(self, reader, text, *words):
        _, problems = reader.read(text)
        self.assertTrue(problems, f"nothing wrong found in {text!r}")
        for word in words:
            self.assertIn(word, "\n".join(problems))


def escaped(value):
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


GOOD = [
    series.entry("hits_total", {"route": HOSTILE, "method": "GET"}, BIG),
    series.entry("hits_total", {"route": "/", "method": "GET"}, 0),
    series.entry("heat", {}, -1.5),
    series.entry("odd", {"of": "nan"}, "NaN"),
    series.entry("odd", {"of": "inf"}, "+Inf"),
    series.entry("size_bucket", {"le": "128.0"}, 1),
    series.entry("size_bucket", {"le": "1048576.0"}, 3),
    series.entry("size_bucket", {"le": "+Inf"}, 4),
    series.entry("size_sum", {}, 2097152),
    series.entry("size_count", {}, 4),
]
PROMETHEUS = f"""# HELP hits_total All \\\\ hits\\nof the day.
# TYPE hits_total counter
hits_total{{method="GET",route="{escaped(HOSTILE)}"}} {BIG}
hits_total{{method="GET",route="/"}} 0
# TYPE heat gauge
heat -1.5
# TYPE odd gauge
odd{{of="nan"}} NaN
odd{{of="inf"}} +Inf
# TYPE size histogram
size_bucket{{le="128"}} 1
size_bucket{{le="1048576"}} 3
size_bucket{{le="+Inf"}} 4
size_sum 2097152
size_count 4
"""
OPENMETRICS = (
    PROMETHEUS.replace("hits_total All", "hits All")
    .replace("TYPE hits_total", "TYPE hits")
    .replace('"128"', '"128.0"')
    .replace('"1048576"', '"1.048576e+06"')
    + "# EOF\n"
)


class Prometheus(ReaderTest):
    def test_good_text_is_read_with_every_digit_and_every_label_byte(self):
        self.reads(read_prometheus, PROMETHEUS, GOOD)

    def test_empty_text_is_no_series(self):
        self.reads(read_prometheus, "", [])

    def test_quoted_names_are_read(self):
        text = '# TYPE "a.b" gauge\n{"a.b","c.d"="e"} 1\n'
        self.reads(read_prometheus, text, [series.entry("a.b", {"c.d": "e"}, 1)])

    def test_duplicate_series_is_refused_whatever_the_label_order(self):
        text = '# TYPE a gauge\na{x="1",y="2"} 1\na{y="2",x="1"} 2\n'
        self.refuses(read_prometheus, text, "duplicate series")

    def test_second_type_is_refused(self):
        self.refuses(read_prometheus, "# TYPE a gauge\n# TYPE a gauge\na 1\n", "second TYPE")

    def test_second_help_is_refused(self):
        self.refuses(read_prometheus, "# HELP a x\n# HELP a x\n# TYPE a gauge\na 1\n", "second HELP")

    def test_missing_type_is_refused(self):
        self.refuses(read_prometheus, "a 1\n", "belongs to no TYPE")

    def test_type_after_samples_is_refused(self):
        self.refuses(read_prometheus, "a 1\n# TYPE a gauge\n", "TYPE of a after its samples")

    def test_unknown_type_is_refused(self):
        self.refuses(read_prometheus, "# TYPE a meter\na 1\n", "unknown type")

    def test_interleaved_families_are_refused(self):
        text = "# TYPE a gauge\n# TYPE b gauge\na 1\nb 1\na{x=\"1\"} 1\n"
        self.refuses(read_prometheus, text, "a is interleaved")

    def test_names_that_two_families_claim_are_refused(self):
        text = "# TYPE a histogram\n# TYPE a_count counter\na_count 1\n"
        self.refuses(read_prometheus, text, "clash in a_count")

    def test_bucket_inf_missing_is_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace('size_bucket{le="+Inf"} 4\n', ""), "+Inf bucket missing")

    def test_bucket_inf_that_differs_from_count_is_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace("size_count 4", "size_count 5"), "differs from _count")

    def test_decreasing_buckets_are_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace('576"} 3', '576"} 0'), "cumulative buckets decrease")

    def test_unordered_buckets_are_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace('"1048576"', '"1"'), "not in the order")

    def test_histogram_without_sum_or_count_is_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace("size_sum 2097152\n", ""), "_sum missing")
        self.refuses(read_prometheus, PROMETHEUS.replace("size_count 4\n", ""), "_count missing")

    def test_bucket_whose_le_is_absent_or_no_number_is_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace('{le="128"}', ""), "bucket without le")
        self.refuses(read_prometheus, PROMETHEUS.replace('"128"', '"1_28"'), "le is no number")
        self.refuses(read_prometheus, PROMETHEUS.replace('"128"', '"NaN"'), "le is no number")

    def test_negative_and_nan_counters_are_refused(self):
        self.refuses(read_prometheus, "# TYPE a counter\na -1\n", "negative or NaN")
        self.refuses(read_prometheus, "# TYPE a counter\na NaN\n", "negative or NaN")

    def test_negative_buckets_are_refused(self):
        self.refuses(read_prometheus, PROMETHEUS.replace('"128"} 1', '"128"} -1'), "negative or NaN")

    def test_bad_escapes_are_refused(self):
        self.refuses(read_prometheus, '# TYPE a gauge\na{x="\\q"} 1\n', "bad escape")
        self.refuses(read_prometheus, '# HELP a \\"\n# TYPE a gauge\na 1\n', "bad escape")
        self.refuses(read_prometheus, "# HELP a x\\\n# TYPE a gauge\na 1\n", "backslash at the end")

    def test_unescaped_quote_is_refused(self):
        self.refuses(read_prometheus, '# TYPE a gauge\na{x="y"z"} 1\n', "line 2")

    def test_missing_last_line_end_is_refused(self):
        self.refuses(read_prometheus, "# TYPE a gauge\na 1", "no line end")

    def test_timestamps_are_refused(self):
        self.refuses(read_prometheus, "# TYPE a gauge\na 1 1700000000000\n", "timestamp")

    def test_blank_lines_and_loose_spaces_are_refused(self):
        self.refuses(read_prometheus, "\n", "line 1")
        self.refuses(read_prometheus, "# TYPE a gauge\na  1\n", "line 2")
        self.refuses(read_prometheus, "# just a comment\n", "neither HELP")

    def test_metadata_and_samples_without_a_name_or_text_are_refused(self):
        self.refuses(read_prometheus, "# HELP a\n# TYPE a gauge\na 1\n", "HELP without text")
        self.refuses(read_prometheus, "# TYPE 1a gauge\n", "no name")
        self.refuses(read_prometheus, "1a 1\n", "no name")
        self.refuses(read_prometheus, '# TYPE a gauge\n{x="1"} 1\n', "a name once")

    def test_values_that_only_python_reads_are_refused(self):
        for value in ("1_0", "nan", "infinity", "0x10", "one", ""):
            self.refuses(read_prometheus, f"# TYPE a gauge\na {value}\n", "line 2")

    def test_bad_label_sets_are_refused(self):
        for labels in ("{x}", '{x="1" y="2"}', '{x="1",x="2"}', '{1x="1"}', '{,}', '{x="1"', '{"n",x="1"}'):
            self.refuses(read_prometheus, f"# TYPE a gauge\na{labels} 1\n", "line 2")
        self.refuses(read_prometheus, '# TYPE n gauge\n{x="1","n"} 1\n', "a quoted name stands first")

    def test_a_reading_that_differs_from_the_library_is_a_problem(self):
        scan = read_prometheus.exposition.Scan("# TYPE a gauge\na 1\n", read_prometheus.DIALECT)
        scan.compare_with(read_prometheus.text_string_to_metric_families, "# TYPE a gauge\na 2\n")
        self.assertIn("reads other series", scan.problems[0])


class OpenMetrics(ReaderTest):
    def test_good_text_is_read_with_every_digit_and_every_label_byte(self):
        self.reads(read_openmetrics, OPENMETRICS, GOOD)

    def test_no_metrics_is_a_good_text(self):
        self.reads(read_openmetrics, "# EOF\n", [])

    def test_exemplars_and_units_are_read(self):
        text = (
            '# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds A \\"quoted\\" help.\n'
            'a_seconds_total 3 # {trace_id="x # y"} 0.5 1700000000.5\n# EOF\n'
        )
        self.reads(read_openmetrics, text, [series.entry("a_seconds_total", {}, 3)])

    def test_end_other_than_eof_is_refused(self):
        for text in ("", "# EOF", "# EOF\n\n", "# EOF\n# EOF \n", "# TYPE a gauge\na 1\n", "x# EOF\n"):
            self.refuses(read_openmetrics, text, "EOF")
        self.refuses(read_openmetrics, "# EOF\n# EOF\n", "line 1")

    def test_duplicate_series_is_refused(self):
        self.refuses(read_openmetrics, "# TYPE a gauge\na 1\na 1\n# EOF\n", "duplicate series")

    def test_unknown_escape_is_refused(self):
        self.refuses(read_openmetrics, '# TYPE a gauge\na{x="\\q"} 1\n# EOF\n', "bad escape")
        self.refuses(read_openmetrics, "# TYPE a gauge\n# HELP a \\t\na 1\n# EOF\n", "bad escape")

    def test_timestamps_are_refused(self):
        self.refuses(read_openmetrics, "# TYPE a gauge\na 1 1700000000000\n# EOF\n", "timestamp")

    def test_integer_le_is_refused(self):
        self.refuses(read_openmetrics, OPENMETRICS.replace('"128.0"', '"128"'), "le is not a float")

    def test_counter_without_total_is_refused(self):
        self.refuses(read_openmetrics, "# TYPE a counter\na 1\n# EOF\n", "belongs to no TYPE")

    def test_type_with_total_is_refused(self):
        self.refuses(read_openmetrics, "# TYPE a_total counter\na_total 1\n# EOF\n", "belongs to no TYPE")

    def test_unit_that_is_no_suffix_is_refused(self):
        text = "# TYPE a_bytes gauge\n# UNIT a_bytes seconds\na_bytes 1\n# EOF\n"
        self.refuses(read_openmetrics, text, "does not end with its unit")

    def test_second_unit_is_refused(self):
        text = "# TYPE a_s gauge\n# UNIT a_s s\n# UNIT a_s s\na_s 1\n# EOF\n"
        self.refuses(read_openmetrics, text, "second UNIT")

    def test_interleaved_families_are_refused(self):
        text = "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\na{x=\"1\"} 1\n# EOF\n"
        self.refuses(read_openmetrics, text, "a is interleaved")

    def test_missing_type_is_refused(self):
        self.refuses(read_openmetrics, "a 1\n# EOF\n", "belongs to no TYPE")

    def test_negative_counter_is_refused(self):
        self.refuses(read_openmetrics, "# TYPE a counter\na_total -1\n# EOF\n", "negative or NaN")

    def test_inconsistent_histogram_is_refused(self):
        self.refuses(read_openmetrics, OPENMETRICS.replace("size_count 4", "size_count 5"), "differs from _count")

    def test_exemplars_in_wrong_places_or_sizes_are_refused(self):
        gauge = '# TYPE a gauge\na 1 # {x="y"} 1\n# EOF\n'
        self.refuses(read_openmetrics, gauge, "exemplar on neither")
        long = '# TYPE a counter\na_total 1 # {x="%s"} 1\n# EOF\n' % ("y" * 128)
        self.refuses(read_openmetrics, long, "exemplar of 129")
        millis = '# TYPE a counter\na_total 1 # {x="y"} 1 1700000000000\n# EOF\n'
        self.refuses(read_openmetrics, millis, "not in seconds")
        bare = "# TYPE a counter\na_total 1 # 1\n# EOF\n"
        self.refuses(read_openmetrics, bare, "no label set")

    def test_what_only_the_library_refuses_is_refused(self):
        text = '# TYPE a histogram\na_bucket{le="1.0"} 1.5\na_bucket{le="+Inf"} 2\na_sum 1\na_count 2\n# EOF\n'
        self.refuses(read_openmetrics, text, "prometheus_client")


def document(*metrics, **changes):
    whole = {
        "timestamp": "2026-11-21T07:00:00.123Z",
        "metrics": list(metrics),
        "total_metrics": len(metrics),
        "metadata": {"exporter": "json"},
        **changes,
    }
    return json.dumps(whole)


def metric(name, kind, value, **labels):
    return {"name": name, "type": kind, "labels": labels, "value": value}


SIZE = {
    "name": "size",
    "type": "histogram",
    "labels": {},
    "count": 4,
    "sum": 2097152,
    "buckets": [{"le": 128, "count": 1}, {"le": 1048576.0, "count": 3}, {"le": "+Inf", "count": 4}],
}


class Json(ReaderTest):
    def test_good_document_is_read_with_every_digit_and_every_label_byte(self):
        text = document(
            metric("hits_total", "counter", BIG, route=HOSTILE, method="GET"),
            metric("hits_total", "counter", 0, route="/", method="GET"),
            {**metric("heat", "gauge", -1.5), "help": "How hot.", "unit": "celsius"},
            metric("odd", "gauge", "NaN", of="nan"),
            metric("odd", "gauge", "+Inf", of="inf"),
            SIZE,
        )
        self.reads(read_json, text, GOOD)

    def test_wrong_total_is_refused(self):
        self.refuses(read_json, document(total_metrics=1), "total_metrics is 1, metrics has 0")
        self.refuses(read_json, document(total_metrics=None), "total_metrics is None")

    def test_unknown_type_is_refused(self):
        self.refuses(read_json, document(metric("a", "meter", 1)), "unknown type")

    def test_nan_and_infinity_literals_are_refused(self):
        for literal in ("NaN", "Infinity", "-Infinity"):
            text = document(metric("a", "gauge", 777)).replace("777", literal)
            self.refuses(read_json, text, "not JSON")

    def test_number_that_overflows_is_refused(self):
        text = document(metric("a", "gauge", 777)).replace("777", "1e999")
        self.refuses(read_json, text, "beyond what a double holds")

    def test_duplicate_keys_are_refused(self):
        text = document(metric("a", "gauge", 1, x="1")).replace('"x": "1"', '"x": "1", "x": "2"')
        self.refuses(read_json, text, "duplicate key: 'x'")

    def test_half_a_surrogate_pair_is_refused(self):
        self.refuses(read_json, document(metric("a", "gauge", 1, x="\ud800")), "surrogate")

    def test_duplicate_series_is_refused(self):
        self.refuses(read_json, document(metric("a", "gauge", 1), metric("a", "gauge", 2)), "duplicate series")

    def test_missing_fields_are_refused(self):
        for field in ("name", "type", "labels", "value"):
            broken = metric("a", "gauge", 1)
            del broken[field]
            self.refuses(read_json, document(broken), f"'{field}' missing")
        for field in ("count", "sum", "buckets"):
            self.refuses(read_json, document({k: v for k, v in SIZE.items() if k != field}), f"'{field}' missing")

    def test_wrong_shapes_are_refused(self):
        self.refuses(read_json, "[]", "no object")
        self.refuses(read_json, "{", "Expecting")
        self.refuses(read_json, document() + "x", "Extra data")
        self.refuses(read_json, document(metrics={}), "no array")
        self.refuses(read_json, document(metadata=[]), "metadata is no object")
        self.refuses(read_json, document(7), "metrics[0]")
        self.refuses(read_json, document(metric("", "gauge", 1)), "name is no text")
        self.refuses(read_json, document({**metric("a", "gauge", 1), "help": 1}), "help is no text")
        self.refuses(read_json, document(metric("a", "gauge", 1, x=1)), "no object of strings")

    def test_values_that_are_no_numbers_are_refused(self):
        for value in ("1", None, True, [], "nan"):
            self.refuses(read_json, document(metric("a", "gauge", value)), "not a value")

    def test_negative_and_nan_counters_are_refused(self):
        for value in (-1, "NaN", "-Inf"):
            self.refuses(read_json, document(metric("a", "counter", value)), "negative or NaN")

    def test_timestamp_that_is_not_rfc_3339_is_refused(self):
        for value in ("21 Nov 2026", 1700000000, None, "2026-11-21T07:00:00"):
            self.refuses(read_json, document(timestamp=value), "RFC 3339")

    def test_inconsistent_histograms_are_refused(self):
        buckets = SIZE["buckets"]
        self.refuses(read_json, document({**SIZE, "count": 5}), "differs from _count")
        self.refuses(read_json, document({**SIZE, "buckets": buckets[:2]}), "+Inf bucket missing")
        self.refuses(read_json, document({**SIZE, "buckets": [{"le": 1, "count": -1}, *buckets]}), "negative or NaN")
        self.refuses(read_json, document({**SIZE, "buckets": buckets[::-1]}), "not in the order", "decrease")


STAMP = "2026-11-21T07:00:00Z"


def csv_row(name, kind, value, labels=None):
    text = json.dumps(labels or {}).replace('"', '""')
    return f'{STAMP},{name},{kind},{value},"{text}"\r\n'


CSV_HEAD = "timestamp,name,type,value,labels\r\n"
CSV = (
    CSV_HEAD
    + csv_row("hits_total", "counter", BIG, {"route": HOSTILE, "method": "GET"})
    + csv_row("hits_total", "counter", 0, {"route": "/", "method": "GET"})
    + csv_row("heat", "gauge", -1.5)
    + csv_row("odd", "gauge", "NaN", {"of": "nan"})
    + csv_row("odd", "gauge", "+Inf", {"of": "inf"})
    + csv_row("size_bucket", "histogram", 1, {"le": "128"})
    + csv_row("size_bucket", "histogram", 3, {"le": "1048576"})
    + csv_row("size_bucket", "histogram", 4, {"le": "+Inf"})
    + csv_row("size_sum", "histogram", 2097152)
    + csv_row("size_count", "histogram", 4)
)


class Csv(ReaderTest):
    def test_good_rows_are_read_with_every_digit_and_every_label_byte(self):
        self.reads(read_csv, CSV, GOOD)

    def test_rows_may_end_with_a_line_feed_alone(self):
        self.reads(read_csv, CSV.replace("\r\n", "\n"), GOOD)

    def test_other_columns_are_refused(self):
        self.refuses(read_csv, "", "first row")
        self.refuses(read_csv, CSV.replace("name,type", "type,name"), "first row")

    def test_wrong_number_of_columns_is_refused(self):
        self.refuses(read_csv, CSV_HEAD + "a,b\r\n", "2 columns")

    def test_text_after_a_closing_quote_is_refused(self):
        self.refuses(read_csv, CSV_HEAD + f'{STAMP},a,gauge,1,"{{}}"x\r\n', "line 2")

    def test_quote_that_is_never_closed_is_refused(self):
        self.refuses(read_csv, CSV_HEAD + f'{STAMP},a,gauge,1,"{{}}\r\n', "unexpected end")

    def test_bad_cells_are_refused(self):
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "meter", 1), "unknown type")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "gauge", "one"), "not a number")
        self.refuses(read_csv, CSV_HEAD + csv_row("", "gauge", 1), "bad name")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "histogram", 1), "bad name")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "counter", -1), "negative or NaN")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "counter", "NaN"), "negative or NaN")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "gauge", 1).replace(STAMP, "now"), "RFC 3339")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "gauge", 1).replace("{}", "x"), "line 2")
        self.refuses(read_csv, CSV_HEAD + csv_row("a", "gauge", 1).replace("{}", '{""x"":1}'), "no object of strings")
        self.refuses(
            read_csv, CSV_HEAD + csv_row("a", "gauge", 1).replace("{}", '{""x"":""1"",""x"":""2""}'), "duplicate key"
        )

    def test_duplicate_series_is_refused(self):
        self.refuses(read_csv, CSV + csv_row("heat", "gauge", 1), "duplicate series")

    def test_inconsistent_histograms_are_refused(self):
        self.refuses(read_csv, CSV.replace("size_count,histogram,4", "size_count,histogram,5"), "differs from _count")
        self.refuses(read_csv, CSV_HEAD + csv_row("a_bucket", "histogram", 1), "bucket without le")


class Statsd(ReaderTest):
    def test_good_lines_are_read(self):
        text = (
            f"hits_total:{BIG}|c|#method:GET,route:/a b\nheat:-1.5|g\n"
            "size_bucket:1|c|#le:128\nsize_bucket:2|c|#le:+Inf\nsize_sum:0.5|c\nsize_count:2|c\nempty:1|g|#x:\n"
        )
        expected = [
            series.entry("hits_total", {"method": "GET", "route": "/a b"}, BIG),
            series.entry("heat", {}, -1.5),
            series.entry("size_bucket", {"le": "128.0"}, 1),
            series.entry("size_bucket", {"le": "+Inf"}, 2),
            series.entry("size_sum", {}, 0.5),
            series.entry("size_count", {}, 2),
            series.entry("empty", {"x": ""}, 1),
        ]
        self.reads(read_statsd, text, expected)

    def test_series_that_became_one_are_summed(self):
        self.reads(read_statsd, "a:1|c|#x:_\na:2|c|#x:_\n", [series.entry("a", {"x": "_"}, 3)])

    def test_sanitising_touches_the_characters_of_the_rule_and_no_other(self):
        self.assertEqual("a_____,b", read_statsd.sanitised_name("a:|@#\n,b"))
        self.assertEqual("a_______@b/é茶\u2028", read_statsd.sanitised_tag("a,|#:\n\x00\x7f@b/é茶\u2028"))

    def test_sanitised_special_values_are_added_as_floats(self):
        entries = [series.entry("a", {"x": "|"}, "+Inf"), series.entry("a", {"x": "#"}, 1)]
        self.assertEqual([series.entry("a", {"x": "_"}, "+Inf")], read_statsd.sanitised(entries))

    def test_bad_lines_are_refused(self):
        for line in (
            "", "a", "a:1", "a:1|", "a:1|ms", "a:|c", ":1|c", "a:1|c|", "a:1|c|#", "a:1|c|x:y", "a:1|c|#x",
            "a:1|c|#x:y,", "a:1|c|#x:y:z", "a:1|c|#x:y#", "a:1|c|#:y", "a:1|c|@0.5", "a b\x00:1|c", "a:one|c",
            "a:1|c|#x:1,x:2", "a:1|c|#x:\ty", "a:1|c\r", "a@b:1|c",
        ):
            self.refuses(read_statsd, line + "\n", "line 1")

    def test_values_that_mean_something_else_to_a_server_are_refused(self):
        self.refuses(read_statsd, "a:+1|g\n", "signed value")
        self.refuses(read_statsd, "a:-1|c\n", "signed value")
        self.refuses(read_statsd, "a:NaN|g\n", "StatsD has no NaN")

    def test_missing_last_line_end_is_refused(self):
        self.refuses(read_statsd, "a:1|c", "no line end")


def log_line(request=b"GET / HTTP/1.1", status=b"200", size=b"5", user=b"-"):
    head = b"127.0.0.1 - " + user + b" [21/Nov/2026:07:00:00 +0000] "
    return head + b'"' + request + b'" ' + status + b" " + size + b' "-" "agent"'


class Recount(unittest.TestCase):
    def route(self, target):
        return recount_log.parse(log_line(b"GET " + target + b" HTTP/1.1"))[2]

    def test_routes_follow_the_rules(self):
        for target, route in (
            (b"/", "/"),
            (b"//", "/"),
            (b"/a/b/c", "/a/b"),
            (b"/a//b/", "/a/b"),
            (b"/7/x7/8", "/:id/x7"),
            (rb"/\xD9\xA3", "/\u0663"),
            (b"/a?b=/c", "/a"),
            (b"/caf%C3%A9", "/caf%C3%A9"),
            (rb"/caf\xC3\xa9", "/café"),
            (rb"/a\x2Fb\x2Fc", "/a/b"),
            (rb"/\x5Cx41", "/\\x41"),
            (rb"/\\x41", "/\\x41"),
            (rb"/\"q\q", '/"q\\q'),
            (rb"/\x3Fa?b", "/?a"),
            (rb"/nul\x00", "/nul\x00"),
            (rb"/q?\xFF", "/q"),
            (b"http://x/y", "none"),
            (b"*", "none"),
            (b"", "none"),
        ):
            with self.subTest(target=target):
                self.assertEqual(route, self.route(target))

    def test_long_routes_are_cut_between_characters(self):
        self.assertEqual("/" + "a" * 119, self.route(b"/" + b"a" * 500))
        self.assertEqual("/" + "é" * 59, self.route(b"/" + b"\\xC3\\xA9" * 100))
        self.assertEqual("/a/" + "茶" * 39, self.route(b"/a/" + b"\\xE8\\x8C\\xB6" * 100))
        self.assertEqual("/" + "a" * 118 + "/", self.route(b"/" + b"a" * 118 + b"/b/c"))

    def test_requests_that_are_not_three_parts_are_other_and_none(self):
        for request in (b"", b"-", b"GET /", b"GET / FTP/1", b"GET /a b HTTP/1.1", rb"\x16\x03\x01"):
            self.assertEqual(("other", "2xx", "none", 5), recount_log.parse(log_line(request)))

    def test_methods_outside_the_list_are_other(self):
        self.assertEqual("PATCH", recount_log.parse(log_line(b"PATCH / HTTP/1.1"))[0])
        for method in (b"get", b"TRACE", b"G\xc9T", b""):
            self.assertEqual("other", recount_log.parse(log_line(method + b" / HTTP/1.1"))[0])

    def test_users_may_hold_spaces_and_brackets(self):
        for user in (b"a b", b"a [b", b"a] [c", b" ", b"x [21/Nov/2026:07:00:00 +0000]"):
            self.assertIsNotNone(recount_log.parse(log_line(user=user)))

    def test_damaged_lines_are_malformed(self):
        good = log_line()
        for line in (
            b"", b" ", good[:-1], good + b" ", good + b"\r", good + good, good[:60] + good, good[1:].lstrip(b"27.01"),
            log_line(b"GET /\\xFF HTTP/1.1"), log_line(b'GET /" HTTP/1.1'), log_line(status=b"600"),
            log_line(status=b"099"), log_line(status=b"20"), log_line(size=b"x"), log_line(size=b""),
            log_line(size=b"1" * 16), log_line(user=b""), log_line(user=b'a"'), good.replace(b"Nov", b"NOV"),
            good.replace(b"agent", b"a\0"), good.replace(b"agent", b"a" * 65536), good.replace(b'nt"', b'nt\\"'),
        ):
            with self.subTest(line=line[:100]):
                self.assertIsNone(recount_log.parse(line))

    def test_line_of_the_greatest_length_counts(self):
        line = log_line()
        self.assertIsNotNone(recount_log.parse(line.replace(b"agent", b"a" * (65536 - len(line) + 5))))

    def test_all_series_of_a_small_log(self):
        lines = [log_line(size=b"128") + b"\n", log_line(size=b"-", status=b"404") + b"\n", b"junk"]
        found = {series.key(e["name"], e["labels"]): e["value"] for e in recount_log.recount(lines)}
        of = lambda name, **labels: found[series.key(name, labels)]  # noqa: E731
        self.assertEqual(3, of("lines_total"))
        self.assertEqual(1, of("malformed_lines_total"))
        self.assertEqual(1, of("http_requests_total", method="GET", status="4xx", route="/"))
        self.assertEqual(128, of("http_response_bytes_total", route="/"))
        self.assertEqual(2, of("http_response_size_bytes_bucket", method="GET", le="128.0"))
        self.assertEqual(2, of("http_response_size_bytes_bucket", method="GET", le="+Inf"))
        self.assertEqual(128, of("http_response_size_bytes_sum", method="GET"))
        self.assertEqual(2 + 2 + 1 + 9 + 2, len(found))

    def test_real_log_holds_what_its_readme_says(self):
        counts = self.counts("access.log")
        self.assertEqual(5052, counts["lines_total"])
        self.assertEqual(7, counts["malformed_lines_total"])
        self.assertEqual(115, counts["http_response_bytes_total"])
        self.assertEqual(160, counts["http_requests_total"])

    def test_malformed_log_holds_what_its_readme_says(self):
        counts = self.counts("malformed.log")
        self.assertEqual(139, counts["lines_total"])
        self.assertEqual(66, counts["malformed_lines_total"])

    def counts(self, log):
        """Values of the series without labels; how many series of the others."""
        with open(LOGS / log, "rb") as lines:
            entries = recount_log.recount(lines)
        self.assertEqual([], series.duplicates(entries))
        self.assertEqual([], list(series.histogram_problems(entries, "http_response_size_bytes")))
        counts = {}
        for e in entries:
            counts[e["name"]] = counts.get(e["name"], 0) + 1 if e["labels"] else e["value"]
        return counts


class CommandLine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def canonical(self, name, entries):
        return self.file(name, series.canonical(entries))

    def test_every_reader_prints_the_same_canonical_json(self):
        expected = series.canonical(GOOD).encode()
        json_text = document(
            metric("hits_total", "counter", BIG, route=HOSTILE, method="GET"),
            metric("hits_total", "counter", 0, route="/", method="GET"),
            metric("heat", "gauge", -1.5),
            metric("odd", "gauge", "NaN", of="nan"),
            metric("odd", "gauge", "+Inf", of="inf"),
            SIZE,
        )
        for script, text in (
            ("read_prometheus.py", PROMETHEUS),
            ("read_openmetrics.py", OPENMETRICS),
            ("read_json.py", json_text),
            ("read_csv.py", CSV),
        ):
            with self.subTest(script=script):
                done = run(script, self.file("good", text))
                self.assertEqual((0, b"", expected), (done.returncode, done.stderr, done.stdout))

    def test_every_reader_exits_1_and_prints_no_series_when_something_is_wrong(self):
        for script in ("read_prometheus.py", "read_openmetrics.py", "read_json.py", "read_csv.py", "read_statsd.py"):
            for content in (b"!bad\n", b"\xff\xfe\n"):
                with self.subTest(script=script, content=content):
                    done = run(script, self.file("bad", content))
                    self.assertEqual((1, b""), (done.returncode, done.stdout))
                    self.assertIn(b"bad: ", done.stderr)

    def test_reader_without_a_file_says_how_it_is_used(self):
        done = run("read_csv.py")
        self.assertEqual(1, done.returncode)
        self.assertIn(b"usage: ", done.stderr)

    def test_recount_prints_the_log_as_canonical_json(self):
        done = run("recount_log.py", LOGS / "access.log")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn({"name": "lines_total", "labels": {}, "value": 5052}, json.loads(done.stdout))

    def test_compare_accepts_equal_series_in_any_order_and_number_form(self):
        a = self.canonical("a", GOOD)
        b = self.file("b", json.dumps([{**e, "value": 4.0} if e["value"] == 4 else e for e in reversed(GOOD)]))
        self.assertEqual((0, b""), (run("compare.py", a, b).returncode, run("compare.py", a, b).stderr))

    def test_compare_lists_every_difference(self):
        a = self.canonical("a", [series.entry("x", {}, BIG), series.entry("y", {}, 1)])
        b = self.canonical("b", [series.entry("x", {}, float(2**53)), series.entry("z", {"k": "v"}, 1)])
        done = run("compare.py", a, b)
        self.assertEqual(1, done.returncode)
        for line in ("3 differences", f"x {{}}: {BIG} | {float(2**53)}", "y {}: 1 | absent", 'z {"k": "v"}: absent | 1'):
            self.assertIn(line, done.stderr.decode())

    def test_compare_can_be_limited_to_prefixes(self):
        a = self.canonical("a", [series.entry("x_a", {}, 1), series.entry("self_b", {}, 1), series.entry("y", {}, 2)])
        b = self.canonical("b", [series.entry("x_a", {}, 1), series.entry("self_b", {}, 2), series.entry("y", {}, 2)])
        self.assertEqual(1, run("compare.py", a, b).returncode)
        self.assertEqual(0, run("compare.py", a, b, "--only", "x_", "--only", "y").returncode)

    def test_compare_refuses_to_agree_about_nothing(self):
        a = self.canonical("a", GOOD)
        self.assertEqual(1, run("compare.py", a, a, "--only", "absent").returncode)
        empty = self.canonical("empty", [])
        self.assertEqual(1, run("compare.py", empty, empty).returncode)

    def test_compare_refuses_duplicate_series(self):
        twice = self.file("twice", json.dumps(GOOD[:1] * 2))
        self.assertIn(b"duplicate series", run("compare.py", twice, twice).stderr)

    def test_compare_sanitised_sums_what_collides(self):
        a = self.canonical("a", [series.entry("x", {"r": "a|b"}, 1), series.entry("x", {"r": "a:b"}, 2)])
        b = self.canonical("b", [series.entry("x", {"r": "a_b"}, 3)])
        self.assertEqual(1, run("compare.py", a, b).returncode)
        self.assertEqual(0, run("compare.py", a, b, "--sanitised").returncode)


class Numbers(unittest.TestCase):
    def test_compare_tells_apart_what_a_float_cannot(self):
        self.assertEqual([], list(compare.differences({("a", ()): 3}, {("a", ()): 3.0})))
        self.assertEqual(1, len(list(compare.differences({("a", ()): BIG}, {("a", ()): float(BIG)}))))

    def test_number_keeps_integers_and_names_the_special_values(self):
        self.assertEqual(BIG, series.number(str(BIG)))
        self.assertEqual(1e22, series.number("1e22"))
        self.assertEqual("+Inf", series.number("1e999"))
        self.assertEqual("-Inf", series.number("-Inf"))

    def test_le_is_one_spelling_of_a_bound(self):
        self.assertEqual({"128.0"}, {series.le(b) for b in (128, 128.0, "128", "128.0", "1.28e+02")})
        self.assertEqual({"+Inf"}, {series.le(b) for b in ("+Inf", float("inf"))})


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env bash
# The demo: a C program counts a real access log, and exporters print what it counted.
#
#   examples/run-demo.sh [TARGET [OUT]]
#
# TARGET   where cargo put the library and the command: target/release (the default)
# OUT      where programs and exports go: build/demo (the default)
#
# `make demo` builds both first. Nothing outside OUT is written.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-target/release}
out=${2:-build/demo}
log=examples/data/access.log
lines=12

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Shows a command as one would type it, then runs it.
show() {
    printf '%s' "$dim"
    printf '$ %s\n' "$*" | fold -s -w 100 | sed '$!s/ $/ \\/; 2,$s/^/      /'
    printf '%s' "$plain"
    "$@" 2>&1 | sed 's/^/    /'
}

# What may be shown on a terminal: routes are what clients sent, control characters and all.
shown() { tr '\000-\010\013-\037\177' '?' | cut -b 1-110 | sed 's/^/    /'; }

# The first lines of a file, cut to a width that fits, and how much more there is.
top() {
    local count
    count=$(wc -l <"$1")
    head -n "$lines" "$1" | shown
    if [ "$count" -gt "$lines" ]; then
        printf '    %s… %d more lines in %s%s\n' "$dim" $((count - lines)) "$1" "$plain"
    fi
}

title "Building the host and the plugin"
for program in libtallyport.so tallyport libtallyport_builtin_exporters_loadable.so; do
    if [ ! -e "$target/$program" ]; then
        echo "run-demo.sh: no $target/$program; \`make demo\` builds it" >&2
        exit 1
    fi
done
examples/build.sh "$target" "$out"
printf '    %s, %s, %s in %s\n' accesslog hello statsd_lines.so "$out"

config=examples/tallyport.toml
if [ "$out" != build/demo ]; then
    # The plugin of the demo's configuration is in another folder now.
    config=$out/tallyport.toml
    sed "s|\.\./build/demo/|$(cd "$out" && pwd)/|" examples/tallyport.toml >"$config"
fi
host=$out/accesslog

title "Counting a real log"
show "$host" --config "$config" --save "$out/access.snapshot" \
    --export prometheus="$out/prometheus.txt" --export openmetrics="$out/openmetrics.txt" \
    --export json="$out/metrics.json" --export csv="$out/metrics.csv" \
    --export sheet="$out/sheet.csv" --export statsd="$out/statsd.txt" "$log"

title "Prometheus text, linked in"
top "$out/prometheus.txt"
title "Odd routes that clients sent, in the same text (control characters shown as ?)"
grep -aE 'requests_total.*route="/(日|emoji|quote|looks|=HYP|[$]|raw.(nul|.*red))' "$out/prometheus.txt" | shown
title "OpenMetrics, by the same exporter"
top "$out/openmetrics.txt"
title "JSON, with options: pretty, a field of our own"
top "$out/metrics.json"
title "CSV"
top "$out/metrics.csv"
title "CSV again, with options: semicolons, a column for each label"
top "$out/sheet.csv"
title "StatsD lines, by a vendor's plugin in plain C"
top "$out/statsd.txt"

title "The same numbers from another process: the command reads the saved snapshot"
show "$target/tallyport" export --from "$out/access.snapshot" --config "$config" \
    --format openmetrics --output "$out/from-snapshot.txt" --report text
cmp "$out/openmetrics.txt" "$out/from-snapshot.txt"
printf '    equal to openmetrics.txt, byte for byte\n'

title "A damaged log: what is no line of the format is counted, and nothing stops"
show "$host" --export prometheus="$out/malformed.txt" examples/data/malformed.log
grep -a '^[a-z_]*lines_total' "$out/malformed.txt" | shown
echo

#!/usr/bin/env bash
# Produces access.log and malformed.log beside this script: a real nginx under
# real load generators, then a copy of the log's head with damaged lines added.
#
#   examples/data/make-log.sh            write both files
#   examples/data/make-log.sh --into DIR write them to DIR instead
#
# Needs nginx, wrk, ab (apache2-utils) and python3. Everything nginx touches
# lives in a temporary directory; it listens on 127.0.0.1 only.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
parts=$here/make-log
into=$here
if [ "${1:-}" = --into ]; then
    into=${2:?--into needs a directory}
fi

# nginx lives in an sbin that is not on every user's path.
PATH=$PATH:/usr/sbin:/sbin
for tool in nginx wrk ab python3; do
    command -v "$tool" >/dev/null || { echo "make-log: $tool is missing (apt-get install nginx-light wrk apache2-utils python3)" >&2; exit 1; }
done

# The log carries local times: UTC keeps it free of the maker's time zone.
export TZ=UTC LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
nginx_pid=
finish() {
    if [ -n "$nginx_pid" ]; then
        kill -TERM "$nginx_pid" 2>/dev/null || true
        wait "$nginx_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

mkdir -p "$work/www/static/img" "$work/www/download" "$work/tmp"
# Sizes sit on both sides of every histogram bound and on some bounds themselves.
for size in 0 1 127 128 129 500 512 1024 3000 4096 9000 16384 40000 65536 150000 262144 700000 1048576 2500000; do
    head -c "$size" /dev/zero | tr '\0' x >"$work/www/download/$size.bin"
done
printf '<!doctype html><title>shop</title><p>Willkommen\n' >"$work/www/index.html"
head -c 2100 "$work/www/download/3000.bin" >"$work/www/static/app.css"
head -c 33000 "$work/www/download/40000.bin" >"$work/www/static/app.js"
head -c 5400 "$work/www/download/9000.bin" >"$work/www/static/img/logo.png"

start_nginx() {
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    sed -e "s|@WORK@|$work|g" -e "s|@PORT@|$port|g" "$parts/nginx.conf.in" >"$work/nginx.conf"
    nginx -p "$work" -c "$work/nginx.conf" -e "$work/error.log" &
    nginx_pid=$!
    # Another process may have taken the port since it was picked: then nginx
    # exits by itself and the caller picks another one.
    while kill -0 "$nginx_pid" 2>/dev/null; do
        if python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1).close()" 2>/dev/null; then
            return 0
        fi
    done
    wait "$nginx_pid" || true
    nginx_pid=
    return 1
}
start_nginx || start_nginx || { cat "$work/error.log" >&2; exit 1; }

site=http://127.0.0.1:$port
# The bulk, in three helpings, so that the odd requests stand between ordinary ones.
# The script stops after a number of responses; wrk itself always takes its 5 s.
wrk -t1 -c8 -d5s -s "$parts/bulk.lua" "$site" -- 1500 11 >"$work/wrk.txt"
python3 "$parts/odd_requests.py" "$port" "$work" first
wrk -t1 -c8 -d5s -s "$parts/bulk.lua" "$site" -- 1500 12 >>"$work/wrk.txt"
ab -q -n 150 -c 3 -B 127.0.0.2 "$site/api/products/17" >"$work/ab.txt"
for size in 0 128 1024 40000 262144 2500000; do
    ab -q -n 20 -c 2 -k -i -B 127.0.0.3 "$site/download/$size.bin" >>"$work/ab.txt"
done
python3 "$parts/odd_requests.py" "$port" "$work" second
wrk -t1 -c8 -d5s -s "$parts/bulk.lua" "$site" -- 1600 13 >>"$work/wrk.txt"

# QUIT lets the last requests finish, so that each of them is in the log.
kill -QUIT "$nginx_pid"
wait "$nginx_pid" || true
nginx_pid=

cp "$work/access.log" "$into/access.log"
python3 "$parts/damage.py" "$into/access.log" "$into/malformed.log"
echo "make-log: $(wc -l <"$into/access.log") lines in access.log, $(wc -l <"$into/malformed.log") in malformed.log"
nginx -v 2>&1
wrk -v 2>&1 | head -n 1 || true
ab -V | head -n 1

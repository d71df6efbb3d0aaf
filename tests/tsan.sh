#!/usr/bin/env bash
# ThreadSanitizer over the stress program: 4 threads record, 2 export, 1 loads and unregisters
# plugins. First a planted race must be reported, or the tool is not on.
#
#   tests/tsan.sh [SECONDS]     (10 by default)
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTUP_DIST_SERVER=http://127.0.0.1:9 RUSTUP_AUTO_INSTALL=0
seconds=${1:-10}
target=x86_64-unknown-linux-gnu
folder=target/tsan
# std is not instrumented: what only std synchronises would be reported, so the suppressions
# name it, each with its reason.
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
cargo +nightly build --quiet --target "$target" --target-dir "$folder" -p tallyport-tests --bin stress
unset RUSTFLAGS
stress=$folder/$target/debug/stress

plugin=$folder/good_minimal.so
cc -std=c99 -O1 -fPIC -shared -fvisibility=hidden -Wl,-Bsymbolic,-z,defs,-z,now,-z,nodelete \
  -I include tests/plugins/good_minimal.c -o "$plugin"

export TSAN_OPTIONS="halt_on_error=0 exitcode=66 suppressions=$PWD/tests/tsan.supp"
if "$stress" --planted-race >"$folder/planted.log" 2>&1; then
  echo "tsan: the planted race was not reported: ThreadSanitizer is not on" >&2
  exit 1
fi
grep -q 'data race' "$folder/planted.log"

# The tool itself can lock up: a report that is suppressed is symbolized first, which waits for the
# dynamic loader's lock, while another thread is inside dl_iterate_phdr and waits for the report's
# (seen with gdb; in a hung run no thread is in a lock of ours). So a run that makes no progress is
# tried again, twice. A deadlock of our own would hang every try, and the run without the tool
# (tests/loader.rs).
for try in 1 2 3; do
  code=0
  timeout --kill-after=5 $((seconds + 60)) \
    "$stress" --shared-cells --seconds "$seconds" --plugin "$plugin" >"$folder/stress.log" 2>&1 || code=$?
  [ "$code" = 124 ] || [ "$code" = 137 ] || break
  echo "tsan: try $try made no progress" >&2
done
if [ "$code" != 0 ]; then
  cat "$folder/stress.log" >&2
  echo "tsan: the stress run failed (exit code $code)" >&2
  exit 1
fi
tail -n 1 "$folder/stress.log"
echo "tsan: the planted race was reported, the stress run is clean"

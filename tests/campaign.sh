#!/usr/bin/env bash
# The long runs: the full sizes of what `make test` runs in small. Writes docs/CAMPAIGN.md.
#
#   tests/campaign.sh               every step, in the order of the list at the end
#   tests/campaign.sh storm kit     some of them; the rows of the others stay as they are
#
# A step that fails is recorded as failed, the others run, and the script ends with 1.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTUP_DIST_SERVER=http://127.0.0.1:9 RUSTUP_AUTO_INSTALL=0
report=docs/CAMPAIGN.md
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
wanted=" $* "
failed=0
commit=$(git rev-parse --short HEAD)
if ! git diff --quiet HEAD -- . ":!$report"; then
  commit+=" and changes"
fi

for name in "$@"; do
  if ! grep -q "^step $name " tests/campaign.sh; then
    echo "campaign: no step \`$name\`; there are: $(sed -n 's/^step \([a-z-]*\) .*/\1/p' tests/campaign.sh | paste -sd ' ')" >&2
    exit 2
  fi
done

# step NAME WHAT FUNCTION: runs it if it was asked for, and keeps its row otherwise.
step() {
  local name=$1 what=$2 start=$SECONDS result=passed
  if [ "$wanted" != "  " ] && [[ $wanted != *" $name "* ]]; then
    grep -sF "| \`$name\` |" "$report" >>"$rows" || true
    return 0
  fi
  printf '== %s: %s\n' "$name" "$what"
  # A process of its own: `set -e` means nothing in a function that `||` follows.
  if ! "$BASH" -euo pipefail -c "$(declare -f "$3"); $3"; then
    result=FAILED
    failed=1
  fi
  printf '| `%s` | %s | %s | %d s | %s, %s |\n' "$name" "$what" "$result" $((SECONDS - start)) \
    "$commit" "$(date -u +%F)" >>"$rows"
}

storm() {
  TALLYPORT_STORM_ADDS=1000000000 cargo test --release --quiet -p tallyport-core --lib storm
}

stress() {
  cargo build --release --quiet -p tallyport-tests --bin stress -p tallyport-builtin-exporters-loadable
  target/release/stress --seconds 300 \
    --plugin target/release/libtallyport_builtin_exporters_loadable.so@csv
}

kit() {
  cargo build --release --quiet -p tallyport-cli -p tallyport-builtin-exporters-loadable
  target/release/tallyport plugins check --series 1000000 --rounds 1000 --timeout 900 \
    target/release/libtallyport_builtin_exporters_loadable.so
}

reloads() {
  TALLYPORT_RELOADS=1000 cargo test --release --quiet -p tallyport-tests --test reload notice
}

damage() {
  TALLYPORT_CORRUPTIONS=2000 cargo test --quiet -p tallyport-tests --test damage
}

swaps() {
  TALLYPORT_SWAPS=10000 cargo test --quiet -p tallyport-tests --test pins
}

# One test at a time: they count processes and descriptors, and measure memory.
isolation() {
  TALLYPORT_KILLS=2000 TALLYPORT_EXPORTS=100000 TALLYPORT_NONSENSE=10000 \
    cargo test --release --quiet -p tallyport-tests --test isolation -- --test-threads 1
}

forks() {
  TALLYPORT_FORKS=1000 cargo test --release --quiet -p tallyport-tests --test c_hosts \
    a_child_exports_while_its_parents_threads_work
}

arena() {
  TALLYPORT_SHARED_SECONDS=60 TALLYPORT_STARTS=10000 \
    cargo test --release --quiet -p tallyport-tests --test shared_arena -- --test-threads 1 --nocapture
  TALLYPORT_FLIPS=2000 TALLYPORT_DISKS="ext4 xfs btrfs" cargo test --release --quiet -p tallyport-cli --test arena
}

exporting() {
  TALLYPORT_EXPORT_SECONDS=300 \
    cargo test --release --quiet -p tallyport-tests --test exporting crowd -- --test-threads 1 --nocapture
}

# One at a time, with leases that outlast a sync of that size while eight processes want two CPUs.
sharing() {
  TALLYPORT_CROWD_SERIES=100000 TALLYPORT_CROWD_LEASE_MS=5000 TALLYPORT_CROWD_SECONDS=120 \
    TALLYPORT_CROWD_SYNCS=300 \
    cargo test --release --quiet -p tallyport-core --test sharing processes -- --test-threads 1 --nocapture
  TALLYPORT_CUT_STEP=1 cargo test --release --quiet -p tallyport-core --test sharing -- \
    --test-threads 1 --nocapture cut answered_with_garbage
  TALLYPORT_TURN_SEEDS=20000 cargo test --release --quiet -p tallyport-core --lib turns
}

model() {
  TALLYPORT_MODEL_TIMES=50 cargo test --release --quiet -p tallyport-core --lib sync::model -- --skip turns
}

packages() {
  TALLYPORT_LINTIAN=1 cargo test --release --quiet -p tallyport-tests --test delivery debian
}

serve() {
  TALLYPORT_CONNECTIONS=10000 TALLYPORT_NONSENSE=20000 \
    cargo test --release --quiet -p tallyport-tests --test serve -- --test-threads 1 --nocapture
}

tsan() {
  tests/tsan.sh 120
}

step reloads "1,000 reloads of two exporters under load: no failed export, images and memory bounded" reloads
step storm "16 threads, 1e9 adds each of u64, f64 and histogram, 1 kHz signals that record, one thread in four on the shared plane: exact" storm
step stress "4 record, 2 export, 1 loads and unregisters, 300 s: exact" stress
step kit "conformance kit over our own exporters: 1,000,000 series, 1,000 rounds of each random case" kit
step damage "2,000 random corruptions of a plugin, each loaded through the probe: the host lives" damage
step swaps "a pinned file swapped 10,000 times while it is loaded: only checked code runs" swaps
step isolation "2,000 helpers killed at any time, 100,000 exports through one, 10,000 rounds of nonsense from either side: the host lives, nothing is left behind" isolation
step arena "one arena: 4 processes of 4 threads with 1 kHz signals for 60 s each, forked and over a file, killed at random; 10,000 workers; 2,000 damaged files; full disks of ext4 and XFS, btrfs refused" arena
step exporting "5 processes export one file every 200 ms over Redis and over SQLite, 300 s each, stopped for up to three lease times and killed: no token twice, nothing older over something newer, no gap past the formula" exporting
step sharing "8 processes of 100,000 series that share totals in Redis, a Redis Cluster, SQLite, memcached and a host's store, with and without arena files, killed and stopped past their leases at random, 120 s each: nothing lost, nothing doubled, nothing falls; connections cut, or answered with garbage, at every byte of a sync, a withdrawal, an aggregate; 20,000 random orders of the calls of steps" sharing
step model "the model of sync: 300,000 random schedules over a simulated store, 40,000 over one of items, 6,000 over Redis, 4,000 over SQLite, 3,000 over memcached: nothing lost, nothing doubled" model
step forks "1,000 forks while 4 threads record, export, load plugins, create series, publish: every child and grandchild does too" forks
step packages "the Debian packages, checked by lintian: no error, no warning" packages
step serve "metrics over HTTP: 10,000 connections that ask for nothing, 20,000 rounds of nonsense, slow and deaf clients: scrapes go on, memory bounded" serve
step tsan "ThreadSanitizer over the stress program, 120 s: clean" tsan

{
  echo '# The last campaign'
  echo
  echo 'The full sizes of what `make test` runs in small. `make campaign` runs all of it,'
  echo '`tests/campaign.sh NAME…` some; a row says at which commit and on which day (UTC) its step ran last.'
  echo "The machine of the last run: $(nproc) CPUs ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(uname -sr), $(rustc --version)."
  echo
  echo '| step | what | result | time | at |'
  echo '|---|---|---|---:|---|'
  cat "$rows"
} >"$report"
cat "$report"
exit "$failed"

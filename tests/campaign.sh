#!/usr/bin/env bash
# The long runs: the full sizes that `make test` runs in small. Writes docs/CAMPAIGN.md.
#
#   tests/campaign.sh [ADDS]     adds of each of 16 threads in the storm, 1e9 by default
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTUP_DIST_SERVER=http://127.0.0.1:9 RUSTUP_AUTO_INSTALL=0
adds=${1:-1000000000}
report=docs/CAMPAIGN.md
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# step NAME COMMAND…: runs it, and records how long it took; a failure ends the campaign.
step() {
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  "$@"
  printf '| %s | passed | %d s |\n' "$name" $((SECONDS - start)) >>"$results"
}

storm() {
  TALLYPORT_STORM_ADDS=$adds cargo test --release --quiet -p tallyport-core --lib storm
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
  TALLYPORT_FLIPS=2000 cargo test --release --quiet -p tallyport-cli --test arena
}

step "1,000 reloads of two exporters under load: no failed export, images and memory bounded" reloads
step "storm: 16 threads, $adds adds each of u64, f64 and histogram, 1 kHz signals that record, one thread in four on the shared plane: exact" storm
step "stress: 4 record, 2 export, 1 loads and unregisters, 300 s: exact" stress
step "conformance kit over our own exporters: 1,000,000 series, 1,000 rounds of each random case" kit
step "2,000 random corruptions of a plugin, each loaded through the probe: the host lives" damage
step "a pinned file swapped 10,000 times while it is loaded: only checked code runs" swaps
step "isolation: 2,000 helpers killed at any time, 100,000 exports through one, 10,000 rounds of nonsense from either side: the host lives, nothing is left behind" isolation
step "one arena: 4 processes of 4 threads with 1 kHz signals for 60 s each, forked and over a file, killed at random; 10,000 workers; 2,000 damaged files" arena
step "1,000 forks while 4 threads record, export, load plugins, create series, publish: every child and grandchild does too" forks
step "ThreadSanitizer over the stress program, 120 s: clean" tests/tsan.sh 120

{
  echo '# The last campaign'
  echo
  echo "\`make campaign\` on $(date -u +%F), commit $(git rev-parse --short HEAD), $(nproc) CPUs"
  echo "($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(uname -sr), $(rustc --version)."
  echo
  echo '| run | result | time |'
  echo '|---|---|---:|'
  cat "$results"
} >"$report"
cat "$report"

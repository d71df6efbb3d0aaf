#!/usr/bin/env bash
# Installs what `make demo` or `make test` needs and this machine lacks.
#
#   xtask/setup.sh demo    a C compiler
#   xtask/setup.sh test    also the C++ and clang compilers, Go, valgrind, promtool,
#                          binutils, redis-server, memcached, a Pushgateway, wrk,
#                          systemd-analyze, man, Ruby with its headers, ffi, servers,
#                          frameworks, RSpec, YARD, cmake, pkg-config, lintian, dpkg-dev,
#                          abigail-tools, and Python readers in .venv
#   xtask/setup.sh campaign   that, and what makes the disks that the campaign fills
#
# It asks nothing. Where nothing is missing it changes nothing and needs neither
# root nor a network. Rust is never installed: which toolchain is the user's choice.
set -euo pipefail
cd "$(dirname "$0")/.."

PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH

fail() {
    echo "setup: $*" >&2
    exit 1
}

check_cargo() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    command -v cargo >/dev/null || fail "cargo is missing: install Rust $wanted or newer (https://rustup.rs)"
    # "cargo 1.95.0 (f2d3ce0bd 2026-03-21)"; a rustup without a toolchain prints no version.
    found=$(cargo --version 2>/dev/null | cut -d' ' -f2 || true)
    [ -n "$found" ] || fail "cargo does not run: install Rust $wanted or newer (rustup toolchain install stable)"
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "cargo $found is too old: Tallyport needs Rust $wanted or newer (rustup update stable)"
    fi
}

missing=()
need() { # package, then the test that it is there
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# What bindings/ruby is tested with: headers for its extension, real servers and frameworks.
need_ruby() {
    need puma command -v puma
    need unicorn command -v unicorn
    need rake command -v rake
    need yard command -v yard
    need ruby-dev ruby -rrbconfig -e 'exit File.exist?(File.join(RbConfig::CONFIG["rubyhdrdir"], "ruby.h"))'
    need ruby-ffi ruby -rffi -e 0
    need ruby-rack ruby -rrack -e 0
    need ruby-sinatra ruby -rsinatra/base -e 0
    need ruby-sidekiq ruby -rsidekiq -e 0
    need ruby-rails ruby -e 'gem "rails"'
    need ruby-sqlite3 ruby -rsqlite3 -e 0
    need ruby-dalli ruby -rdalli -e 0
    need ruby-redis ruby -rredis -e 0
    need ruby-rspec ruby -rrspec -e 0
    # Beside ours in `cargo xtask bench ruby`.
    need ruby-prometheus-client-mmap ruby -rprometheus/client -e 0
}

compiles_c() { echo '#include <stdio.h>' | gcc -E -x c -; }

# The first Python that can make a virtual environment; Debian splits that off.
python_with_venv() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# The sanitizer runtimes' package carries clang's major version in its name.
clang_rt_package() { echo "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"; }
has_clang_rt() { test -e "$(clang -print-file-name="libclang_rt.asan-$(uname -m).a")" || test -e "$(clang -print-file-name=libclang_rt.asan.a)"; }

install_missing() {
    local as_root=()
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing, and no apt-get to install it: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        # -n: a password prompt in the middle of a build would hang it.
        sudo -n true 2>/dev/null || fail "missing: ${missing[*]}; this user may not install, so run: sudo apt-get install --no-install-recommends ${missing[*]}"
        as_root=(sudo -n)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" "$BASH" xtask/setup.sh --install "${missing[@]}"
    missing=()
}

policy=/usr/sbin/policy-rc.d
saved_policy=$policy.saved-by-tallyport
policy_mark='# Written by the setup script of Tallyport; removed when it ends.'

restore_policy() {
    if grep -qsF "$policy_mark" "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$saved_policy" ] || [ -L "$saved_policy" ]; then
        mv "$saved_policy" "$policy"
    fi
}

# Runs as root. Debian starts a server when its package is installed; promtool
# comes with one, and nobody asked for a Prometheus on this machine.
install_packages() {
    # Two checkouts may set up at once, and each would save the other's policy.
    exec 9>/run/lock/tallyport-setup.lock
    flock 9
    # What an earlier run left behind when it was killed.
    restore_policy
    trap restore_policy EXIT
    trap 'exit 130' INT TERM
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        mv "$policy" "$saved_policy"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
    chmod 755 "$policy"

    export DEBIAN_FRONTEND=noninteractive
    # Dpkg's lock may be held by unattended upgrades; the descriptor of our own
    # lock is not for daemons to inherit.
    apt-get -qq -o DPkg::Lock::Timeout=300 update 9>&-
    apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" </dev/null 9>&-
    case " $* " in
        *" prometheus "*) update-rc.d prometheus disable 9>&- >/dev/null 2>&1 || true ;;
    esac
    case " $* " in
        *" prometheus-pushgateway "*) update-rc.d prometheus-pushgateway disable 9>&- >/dev/null 2>&1 || true ;;
    esac
    case " $* " in
        *" redis-server "*) update-rc.d redis-server disable 9>&- >/dev/null 2>&1 || true ;;
    esac
    case " $* " in
        *" memcached "*) update-rc.d memcached disable 9>&- >/dev/null 2>&1 || true ;;
    esac
}

setup_venv() {
    local python
    # What it was made from; its Python may be gone since.
    if cmp -s tests/readers/requirements.txt .venv/requirements.txt &&
        .venv/bin/python -c 'import prometheus_client, yaml' 2>/dev/null; then
        return 0
    fi
    python=$(python_with_venv) || fail "python3 cannot make a virtual environment (package python3-venv)"
    echo "setup: $(tr '\n' ' ' <tests/readers/requirements.txt)into .venv"
    # --clear: a half-made environment, or one whose Python is gone, is made anew.
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip --quiet --disable-pip-version-check install -r tests/readers/requirements.txt
    cp tests/readers/requirements.txt .venv/requirements.txt
}

case "${1:-}" in
    demo | test | campaign)
        check_cargo
        need gcc command -v gcc
        need libc6-dev compiles_c
        need make command -v make
        if [ "$1" != demo ]; then
            need g++ command -v g++
            need clang command -v clang
            need valgrind command -v valgrind
            need prometheus command -v promtool
            need binutils command -v readelf
            need golang-go command -v go
            need prometheus-pushgateway command -v prometheus-pushgateway
            need redis-server command -v redis-server
            need memcached command -v memcached
            need openssl command -v openssl
            need_ruby
            need wrk command -v wrk
            need cmake command -v cmake
            need pkg-config command -v pkg-config
            need lintian command -v lintian
            need dpkg-dev command -v dpkg-shlibdeps
            need abigail-tools command -v abidiff
            need systemd command -v systemd-analyze
            need man-db command -v man
            need python3 command -v python3
            need python3-venv python_with_venv
        fi
        if [ "$1" = campaign ]; then
            need e2fsprogs command -v mkfs.ext4
            need xfsprogs command -v mkfs.xfs
            need btrfs-progs command -v mkfs.btrfs
        fi
        install_missing
        if [ "$1" != demo ]; then
            need "$(clang_rt_package)" has_clang_rt
            install_missing
            setup_venv
        fi
        ;;
    --install)
        shift
        install_packages "$@"
        ;;
    *)
        fail "usage: xtask/setup.sh demo|test|campaign"
        ;;
esac

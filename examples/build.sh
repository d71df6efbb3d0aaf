#!/usr/bin/env bash
# Compiles the examples in C: the host, a vendor's plugin and the shortest host.
#
#   examples/build.sh [TARGET [OUT]]
#
# TARGET   where cargo put libtallyport.so: target/release (the default), target/debug …
# OUT      where the programs go: build/demo (the default)
#
# CC and CXX choose the compilers, CFLAGS is added. A C++ compiler is not needed: without one
# the C++ example is left out, and a line says so.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-target/release}
out=${2:-build/demo}
read -ra c <<<"${CC:-gcc} -std=c11 -O2 -g -Wall -Wextra -Wpedantic -Werror -Wconversion ${CFLAGS:-}"
read -ra cxx <<<"${CXX:-g++} -std=c++17 -O2 -g -Wall -Wextra -Wpedantic -Werror ${CFLAGS:-}"

if [ ! -e "$target/libtallyport.so" ]; then
    echo "build.sh: no $target/libtallyport.so; first: cargo build --release -p tallyport-ffi" >&2
    exit 1
fi

mkdir -p "$out"
# Programs ask for the library by the name in it, its SONAME. It stands beside them, and they find
# it from where they are, so the folder can be moved.
install -m 755 "$target/libtallyport.so" "$out/libtallyport.so.1"
host=(-I include "$out/libtallyport.so.1" '-Wl,-rpath,$ORIGIN')
# A plugin links nothing of ours: the header is the contract, and the host hands over the rest.
plugin=(-I include -fPIC -shared -fvisibility=hidden '-Wl,-Bsymbolic,-z,defs,-z,now,-z,nodelete')

"${c[@]}" examples/accesslog.c examples/accesslog_parse.c "${host[@]}" -o "$out/accesslog"
"${c[@]}" examples/hello.c "${host[@]}" -o "$out/hello"
"${c[@]}" examples/plugins/statsd_lines.c "${plugin[@]}" -o "$out/statsd_lines.so"
if command -v "${cxx[0]}" >/dev/null; then
    "${cxx[@]}" examples/hello.cpp "${host[@]}" -o "$out/hello_cpp"
else
    echo "build.sh: ${cxx[0]} is missing, so examples/hello.cpp is left out"
fi

#!/bin/sh
# Builds the examples against the installed lamina, by the compilers of the system and without a
# network, and runs them: C, C++, Go with cgo off, Rust.
# Usage: examples.sh STAND_INS        directory with fake_firecracker_vmm
# Works in the current directory, as root.
set -eu
stand_ins=$1
examples=/usr/share/doc/lamina/examples

fail() { echo "examples: $1" >&2; exit 1; }
wait_for() {  # SOCKET
  tries=0
  until [ -S "$1" ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "nothing listens at '$1'"
    sleep 0.1
  done
}
expect() {  # FILE LINE
  grep -qx "$2" "$1" || { cat "$1" >&2; fail "'$2' is not in what was said"; }
}
say_done() {
  echo "$1: built and run, $(($(date +%s) - begun)) s"
}

# 512 KiB, half of it data; a diff with data, a cleared block and holes.
python3 - <<'END' >sum
import random
memory = bytearray(random.Random(1).randbytes(64 << 12) + bytes(64 << 12))
open("full", "wb").write(memory)
with open("diff", "wb") as diff:
    diff.truncate(len(memory))
    for page, fill in ((3, b"a"), (70, b"b"), (5, b"\0")):
        memory[page << 12:(page + 1) << 12] = fill * 4096
        diff.seek(page << 12)
        diff.write(fill * 4096)
open("expected", "wb").write(memory)
print(sum(memory))
END
sum=$(cat sum)

check_agent() {  # COMMAND…: does what agent.c does
  rm -rf store
  mkdir store
  "$@" full diff store >said
  expect said "vm-2: 2 layers, then 1"
  expect said "sum of the memory's bytes: $sum"
}

begun=$(date +%s)
# shellcheck disable=SC2046  # words
gcc -std=c11 -Wall -Wextra -Werror -pedantic "$examples/c/agent.c" $(pkg-config --cflags --libs lamina) \
  -pthread -o agent-c
# shellcheck disable=SC2046  # words
gcc -std=c11 -Wall -Wextra -Werror -pedantic "$examples/c/sandbox.c" \
  $(pkg-config --cflags --libs lamina) -o sandbox-c
check_agent ./agent-c
./sandbox-c 2>/dev/null && fail "sandbox.c takes no arguments"
say_done C

begun=$(date +%s)
# shellcheck disable=SC2046  # words
g++ -std=c++23 "$examples/embed/embed.cc" $(pkg-config --cflags --libs lamina) -o embed
rm -rf store
mkdir store
./embed full diff store out >said
cmp expected out
say_done C++

# The Go module is installed. The example is in it, and needs no other module.
begun=$(date +%s)
export GOFLAGS=-buildvcs=false GOPROXY=off GOTOOLCHAIN=local GOCACHE="$PWD/go-cache"
(cd /usr/share/lamina/go && CGO_ENABLED=0 go build -o "$OLDPWD/agent-go" ./examples/agent)
mkdir kept run
printf '{"store": "%s/kept", "listen": "unix:%s/laminad.socket"}\n' "$PWD" "$PWD" >laminad.json
laminad --config laminad.json 2>laminad.log &
daemon=$!
wait_for laminad.socket
"$stand_ins/fake_firecracker_vmm" --api-sock first.api --control first.control --start --memory-mib 16 >/dev/null &
vm=$!
wait_for first.api
agent() {
  ./agent-go -daemon "$PWD/laminad.socket" -run "$PWD/run" \
    -vmm "$stand_ins/fake_firecracker_vmm --api-sock {socket} --control $PWD/run/{name}.control" "$@"
}
agent checkpoint web "$PWD/first.api" >said
agent pause web "$PWD/first.api" >>said
wait $vm 2>/dev/null || true
agent fork web 2 >>said
agent metrics >>said
expect said 'pauses 1 full, 1 diff;.*'
grep -q '^web-2: process ' said || { cat said >&2; fail "the Go agent has not forked"; }
for pid in $(sed -n 's/^web-[12]: process \([0-9]*\),.*/\1/p' said); do kill "$pid"; done
kill $daemon
wait $daemon || { cat laminad.log >&2; fail "the daemon failed"; }
say_done Go

begun=$(date +%s)
# The crates are installed too; a program names them by their path.
crates=/usr/share/lamina/rust
mkdir -p rust/src
cp $crates/lamina/examples/agent.rs rust/src/main.rs
cat >rust/Cargo.toml <<END
[package]
name = "agent"
version = "0.1.0"
edition = "2021"

[dependencies]
lamina = { path = "$crates/lamina" }
END
(cd rust && cargo build --offline --quiet)
check_agent rust/target/debug/agent
say_done Rust

#!/bin/sh
# The main job with the lamina that is installed: ingest, merge, verify, materialize, page faults,
# pause and resume with and without the daemon. The VMs are stand-ins: fake_vm and
# fake_firecracker_vmm.
# Usage: main_job.sh STAND_INS        STAND_INS: directory with the two programs
# Needs nothing but what a bare Debian has (perl-base: lines to a Unix socket). Works in the current
# directory, as root.
set -eu
stand_ins=$1

fail() { echo "main_job: $1" >&2; exit 1; }
wait_for() {  # SOCKET
  tries=0
  until [ -S "$1" ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "nothing listens at '$1'"
    sleep 0.1
  done
}
tell() {  # SOCKET LINE: to the stand-in, which must answer with ok
  reply=$(perl -MIO::Socket::UNIX -e '
    my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\n";
    print $socket "$ARGV[1]\n";
    $socket->flush;
    print scalar <$socket>;' "$1" "$2")
  case $reply in ok*) ;; *) fail "'$2': $reply" ;; esac
}
start_vm() {  # NAME OPTION…: sets $vm
  name=$1
  shift
  "$stand_ins/fake_firecracker_vmm" --api-sock "$name.api" --control "$name.control" "$@" >/dev/null &
  vm=$!
  wait_for "$name.api"
}

# 8 MiB, half of it random; a diff with data, a cleared block and holes.
mkdir store
{ head -c 4M /dev/urandom; head -c 4M /dev/zero; } >full
cp full expected
truncate -s 8M diff
for at in 3 70 1500; do
  head -c 4096 /dev/urandom >block
  for file in diff expected; do dd if=block of=$file bs=4096 seek=$at conv=notrunc status=none; done
done
for file in diff expected; do dd if=/dev/zero of=$file bs=4096 seek=5 count=1 conv=notrunc status=none; done
lamina ingest full --out store/vm-1
lamina ingest diff --parent store/vm-1 --out store/vm-2
lamina verify store/vm-2

lamina serve store/vm-2 --socket serve.socket --once &
server=$!
wait_for serve.socket
"$stand_ins/fake_vm" --socket serve.socket --truth expected --regions 8388608 --operations 5000
wait $server || fail "the page server failed"

lamina merge store/vm-2
lamina verify store/vm-2
lamina materialize store/vm-2 --out out
cmp expected out

# One VM is paused twice, and continues in two others: by page faults, and from a file.
start_vm first --start --memory-mib 16
tell first.control 'run 300 1'
lamina pause --api first.api --store store --name web --after resume
tell first.control 'run 50 2'
lamina pause --api first.api --store store --name web
wait $vm 2>/dev/null || true
for mode in uffd file; do
  start_vm $mode
  lamina resume --api $mode.api --store store --name web --mode $mode
  tell $mode.control check
done

# The same by the daemon, which the command line finds in the store.
mkdir kept
printf '{"store": "%s/kept", "listen": "unix:%s/laminad.socket"}\n' "$PWD" "$PWD" >laminad.json
laminad --config laminad.json &
daemon=$!
wait_for kept/.vms/laminad.sock
start_vm second --start --memory-mib 16
tell second.control 'run 300 3'
lamina pause --api second.api --store kept --name web
wait $vm 2>/dev/null || true
start_vm third
lamina resume --api third.api --store kept --name web
tell third.control check
lamina ls kept
kill $daemon
wait $daemon || fail "the daemon failed"

#!/bin/sh
# Builds softnet with AF_XDP and shows it on a veth pair: the kernel, in a network
# namespace of its own, pings the stack and talks to its echo service. Takes root.
# Arguments go to `softnet run`. Both namespaces end with this script.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh

need ca_certificates:ca-certificates cc:gcc /usr/include/stdio.h:libc6-dev make:make \
    clang:clang m4:m4 /usr/include/libelf.h:libelf-dev \
    ping:iputils-ping ip:iproute2 unshare:util-linux timeout:coreutils
need_rust Cargo.toml
cargo build --release --package softnet --features af-xdp --bin softnet
[ "$(id -u)" -eq 0 ] || stop "AF_XDP takes root: run this as root."

# What follows runs in a namespace, whose interfaces are nobody else's.
# shellcheck disable=SC2016
exec unshare --net sh -euc '
    unshare --net sleep infinity &
    peer=$!
    stack=
    trap "kill \$peer \$stack 2>/dev/null" EXIT
    until [ "$(readlink /proc/$peer/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do
        sleep 0.1
    done
    ip link add near0 type veth peer name far0 netns "$peer"
    ip link set near0 up
    in_peer() { nsenter --net="/proc/$peer/ns/net" "$@"; }
    in_peer ip address add 10.7.0.1/24 dev far0
    in_peer ip link set far0 up
    target/release/softnet run --nic af-xdp:near0 --address 10.7.0.2/24 "$@" &
    stack=$!
    in_peer ping -c 3 -w 20 10.7.0.2
    in_peer timeout 5 bash -c "
        exec 3<>/dev/udp/10.7.0.2/7
        echo a datagram that comes back >&3
        head -n 1 <&3"
    kill "$stack"
    wait "$stack"
' sh "$@"

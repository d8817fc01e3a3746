#!/bin/sh
# Builds softnet with AF_XDP and runs its demonstration on a veth pair: the kernel, in
# a network namespace of its own, pings the stack and talks to its echo service. Takes
# root. Arguments go to `softnet demo --nic af-xdp`.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh

need ca_certificates:ca-certificates cc:gcc /usr/include/stdio.h:libc6-dev make:make \
    clang:clang m4:m4 pkg-config:pkg-config /usr/include/libelf.h:libelf-dev \
    /usr/include/zlib.h:zlib1g-dev \
    ping:iputils-ping ip:iproute2
need_rust Cargo.toml
cargo build --release --package softnet --features af-xdp --bin softnet
can_be_root || stop "AF_XDP takes root: run this as root."
exec $as_root target/release/softnet demo --nic af-xdp "$@"

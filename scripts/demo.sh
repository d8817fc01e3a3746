#!/bin/sh
# Builds softnet and runs its demonstration: the kernel's own ping and a UDP
# client of the kernel, answered through the emulated e1000. Needs no root, except to
# install what is missing. Arguments go to `softnet demo`.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh

need ca_certificates:ca-certificates cc:gcc /usr/include/stdio.h:libc6-dev \
    ping:iputils-ping
need_rust Cargo.toml
cargo build --release --package softnet --bin softnet
cargo run --quiet --release --package softnet --bin softnet -- demo "$@"

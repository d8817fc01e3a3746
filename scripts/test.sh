#!/bin/sh
# Installs what the tests need and runs all that CI runs. Arguments are steps of
# `cargo xtask ci`; all of them if there is none.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh

need ca_certificates:ca-certificates cc:gcc g++:g++ /usr/include/stdio.h:libc6-dev \
    diff:diffutils clang:clang valgrind:valgrind shellcheck:shellcheck \
    ping:iputils-ping ip:iproute2 tshark:tshark \
    setpriv:util-linux unshare:util-linux
# What AF_XDP is built with.
need make:make m4:m4 pkg-config:pkg-config /usr/include/libelf.h:libelf-dev \
    /usr/include/zlib.h:zlib1g-dev
# Where clang's package does not bring its sanitizers, this one does.
need clang_asan:libclang-rt-dev
# The benches are checked too, and their peers ask for a newer Rust.
need_rust benches/Cargo.toml
need_rust_tools
# Chips and guests of QEMU. Where it cannot be had, the tests that want it are skipped by name.
scripts/qemu.sh >/dev/null || echo "QEMU could not be fetched: its tests will be skipped." >&2
scripts/guest.sh >/dev/null || echo "No guest could be made: its tests will be skipped." >&2
cargo xtask ci "$@"

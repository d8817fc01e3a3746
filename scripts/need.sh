# shellcheck shell=sh
# What the other scripts need of the machine, and how it gets there. Sourced.

# Says what cannot be mended here, and stops.
stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

# has PROBE: whether a command, a file (a probe with a slash) or what a shell
# function of this file checks (a probe with an underscore) is there.
has() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *_*) "$1" ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Without them cargo cannot trust its registry.
ca_certificates() {
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/cert.pem ] ||
        [ -e /etc/ssl/cert.pem ]
}

clang_asan() {
    command -v clang >/dev/null 2>&1 &&
        echo 'int main(void) { return 0; }' |
        clang -fsanitize=address,undefined -x c - -o /dev/null 2>/dev/null
}

# need PROBE:PACKAGE ...: installs the packages whose probe finds nothing.
need() {
    missing=
    for pair in "$@"; do
        has "${pair%%:*}" || missing="$missing ${pair#*:}"
    done
    [ -z "$missing" ] || install_packages "$missing"
}

# install_packages "NAME ...": by apt, as root or through sudo.
install_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        stop "This machine lacks (by their Debian names):$1" \
            "It has no apt-get: install them its own way, then run this again."
    can_be_root ||
        stop "This machine lacks some packages. Run, as root, then this again:" \
            "  apt-get update && apt-get install -y --no-install-recommends$1"
    echo "installing:$1"
    refresh_lists
    # Names without spaces, split on purpose.
    # shellcheck disable=SC2086
    apt_get install --yes --no-install-recommends --no-remove $1 ||
        stop "apt-get could not install:$1"
}

# Sets $as_root to what makes a command run as root; fails if nothing does.
can_be_root() {
    as_root=
    [ "$(id -u)" -ne 0 ] || return 0
    as_root=sudo
    command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }
}

# Lets apt look what there is, once.
refresh_lists() {
    [ -z "$lists_are_fresh" ] || return 0
    apt_get update && lists_are_fresh=yes
}
lists_are_fresh=

# apt_get ARGUMENT ...: apt-get without questions, patient while another one runs.
apt_get() {
    tries=0
    until $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$apt_log" 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -ge 6 ] || ! grep -q 'Could not get lock' "$apt_log"; then
            cat "$apt_log" >&2
            return 1
        fi
        sleep 10
    done
}
apt_log=${TMPDIR:-/tmp}/softnet-apt-$$.log
trap 'rm -f "$apt_log"' EXIT

# newer_or_same HAVE WANT: compares dotted versions.
newer_or_same() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Whether cargo is there and new enough for this workspace.
rust_is_here() {
    command -v cargo >/dev/null 2>&1 || return 1
    have=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    [ -n "$have" ] && newer_or_same "$have" "$rust_wanted"
}

# Puts the Rust toolchain that a manifest ($1) asks for on the path, by rustup where
# there is none.
need_rust() {
    rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1")
    # Where rustup puts cargo, for shells that have not read its profile.
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    export PATH
    rust_is_here && return
    if ! command -v rustup >/dev/null 2>&1 && rustup_is_packaged; then
        install_packages " rustup"
    fi
    command -v rustup >/dev/null 2>&1 ||
        stop "softnet needs Rust $rust_wanted or newer, and this machine's packages have none." \
            "Install it as https://rustup.rs says, then run this again."
    rustup toolchain install stable --profile minimal -c clippy -c rustfmt >&2
    # Whatever default is set stays as it is.
    export RUSTUP_TOOLCHAIN=stable
    rust_is_here || stop "rustup's stable toolchain is older than Rust $rust_wanted."
}

# Whether apt has a package rustup; a fresh image knows only after an update.
rustup_is_packaged() {
    command -v apt-get >/dev/null 2>&1 || return 1
    apt_has_rustup || { can_be_root && refresh_lists && apt_has_rustup; }
}

apt_has_rustup() {
    apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'
}

# The parts of the toolchain that only the tests need.
need_rust_tools() {
    cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null 2>&1 ||
        stop "cargo lacks clippy or rustfmt: install them beside it (Debian: rust-clippy, rustfmt)."
    rustup component add clippy rustfmt >&2
}

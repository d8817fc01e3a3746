#!/bin/sh
# Fetches Debian's newest QEMU for x86 machines into a folder of its own, beside the
# system, and prints the path of the script that runs it. What is there already is
# kept: remove the folder to fetch anew. SOFTNET_QEMU_CACHE names another folder.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/debian.sh

cache=${SOFTNET_QEMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/softnet/qemu}
wrapper=$cache/qemu-system-x86_64

runs() {
    [ -x "$wrapper" ] && "$wrapper" --version >/dev/null 2>&1
}

# Writes the script that runs QEMU with the libraries, modules and data that it was
# unpacked with. It takes its place in one step, so whoever finds it finds it whole.
write_wrapper() {
    root=$1/root
    set -- "$root"/usr/lib*/ld-linux* "$root"/usr/lib/*/qemu
    for part in "$1" "$2"; do
        [ -e "$part" ] || stop "the packages lack a part of QEMU: $part"
    done
    cat >"$wrapper.new" <<END
#!/bin/sh
export QEMU_MODULE_DIR='$2'
exec '$1' --library-path '${2%/qemu}' '$root/usr/bin/qemu-system-x86_64' \\
    -L '$root/usr/share/qemu' -L '$root/usr/share/seabios' -L '$root/usr/lib/ipxe/qemu' "\$@"
END
    chmod +x "$wrapper.new"
    mv "$wrapper.new" "$wrapper"
}

fetch() {
    echo "fetching QEMU (about 40 MB) into $cache" >&2
    fresh=$(mktemp -d "$cache/fetched.XXXXXX")
    unpack_debian "$fresh" "trixie trixie-backports" qemu-system-x86
    write_wrapper "$fresh"
    # What an earlier run has left.
    for old in "$cache"/fetched.*; do
        [ "$old" = "$fresh" ] || rm -rf "$old"
    done
}

mkdir -p "$cache"
# Two tests that start side by side fetch once.
exec 9>"$cache/lock"
! command -v flock >/dev/null 2>&1 || flock 9
runs || fetch
runs || stop "QEMU was fetched but does not run: $wrapper"
echo "$("$wrapper" --version | head -n 1) is in $cache" >&2
echo "$wrapper"

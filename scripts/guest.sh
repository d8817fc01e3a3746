#!/bin/sh
# Makes a guest for QEMU of Debian's packages: its kernel, and an initial file system
# with busybox, ethtool and the drivers that the tests are about. Prints the folder,
# which has them as `vmlinuz` and `initrd`; a test adds its own script to the latter.
# It lies in the cache of scripts/qemu.sh, and is made anew when this recipe changes.
set -eu
cd "$(dirname "$0")/.."
. scripts/need.sh
. scripts/debian.sh

cache=${SOFTNET_QEMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/softnet/qemu}
guest=$cache/guest
recipe=$(cat scripts/guest.sh scripts/guest-init.sh scripts/debian.sh | cksum)
modules="e1000 e1000e igb ne2k-pci vfio-pci vfio_iommu_type1"

is_made() {
    [ "$(cat "$guest/recipe" 2>/dev/null)" = "$recipe" ]
}

# The package of the kernel that Debian means now.
kernel_package() {
    APT_CONFIG=$apart/apt.conf apt-cache show linux-image-amd64 |
        sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | head -n 1
}

# Fetches the packages alone, without what they depend on.
fetch() {
    echo "fetching a kernel (about 110 MB) into $cache" >&2
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $keyring ] || stop "$keyring is missing: install debian-archive-keyring."
    apart=$(mktemp -d "$fresh/apt.XXXXXX")
    private_apt "$apart" trixie
    apart_apt update
    kernel=$(kernel_package)
    (cd "$fresh/packages" &&
        apart_apt download "$kernel" busybox-static ethtool libmnl0 libc6)
}

# extract PACKAGE PATTERN ...: the files of a package that a pattern names.
extract() {
    package=$(echo "$fresh/packages/$1"_*.deb)
    shift
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$fresh/unpacked" --wildcards "$@"
}

unpack() {
    extract "$kernel" './boot/vmlinuz-*' './usr/lib/modules/*/kernel/drivers/*' \
        './usr/lib/modules/*/kernel/virt/*' './usr/lib/modules/*/modules.builtin'
    extract busybox-static './usr/bin/busybox'
    extract ethtool './usr/sbin/ethtool'
    extract libmnl0 '*/libmnl.so*'
    extract libc6 '*/libc.so.6' '*/libm.so.6' '*/ld-linux-x86-64.so.2'
}

# Copies the modules and all that they want into the file system, and notes who wants
# whom, for modprobe.
add_modules() {
    tree=$(echo "$fresh"/unpacked/usr/lib/modules/*)
    into=$root/lib/modules/${tree##*/}
    mkdir -p "$into"
    # Names without spaces, split on purpose.
    # shellcheck disable=SC2086
    set -- $modules
    while [ $# -gt 0 ]; do
        module=$1
        shift
        # shellcheck disable=SC2046
        set -- "$@" $(add_module "$module")
    done
    "$busybox" depmod -b "$root" "${tree##*/}"
}

# add_module NAME: copies one module, and prints what it wants. One that is there already,
# or that is built into the kernel, wants nothing more.
add_module() {
    name=$(echo "$1" | tr _- '??')
    file=$(find "$tree/kernel" -name "$name.ko*" | head -n 1)
    [ -n "$file" ] || return 0
    place=$into/$(basename "$file" .xz)
    [ ! -e "$place" ] || return 0
    case $file in
    *.xz) "$busybox" unxz -c "$file" >"$place" ;;
    *) cp "$file" "$place" ;;
    esac
    tr '\0' '\n' <"$place" | sed -n 's/^depends=//p' | tr , ' '
}

make_root() {
    for folder in bin proc sys dev tmp lib64 lib usr/lib; do
        mkdir -p "$root/$folder"
    done
    cp scripts/guest-init.sh "$root/init"
    chmod +x "$root/init"
    cp "$busybox" "$fresh/unpacked/usr/sbin/ethtool" "$root/bin"
    find "$fresh/unpacked" -name '*.so*' -exec cp -L {} "$root/lib" ';'
    mv "$root"/lib/ld-linux-* "$root/lib64"
    add_modules
}

# The kernel unpacks archives that stand one behind the other, so this one is left as
# it is for a test to add its own.
make_initrd() {
    (cd "$root" && find . | LC_ALL=C sort | "$busybox" cpio -o -H newc) \
        >"$fresh/made/initrd" 2>/dev/null
}

make() {
    fresh=$(mktemp -d "$cache/making.XXXXXX")
    root=$fresh/root busybox=$fresh/unpacked/usr/bin/busybox
    mkdir -p "$fresh/packages" "$fresh/unpacked" "$fresh/made" "$root"
    fetch
    unpack
    make_root
    make_initrd
    cp "$fresh"/unpacked/boot/vmlinuz-* "$fresh/made/vmlinuz"
    cp "$busybox" "$fresh/made/busybox"
    echo "$recipe" >"$fresh/made/recipe"
    rm -rf "$guest"
    mv "$fresh/made" "$guest"
    rm -rf "$cache"/making.*
}

mkdir -p "$cache"
# Two that start side by side make one.
exec 9>"$cache/lock"
! command -v flock >/dev/null 2>&1 || flock 9
is_made || make
echo "$guest"

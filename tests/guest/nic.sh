# shellcheck shell=dash
# What a driver of Linux has to do on one chip. Runs in a guest, in busybox's shell; the
# same script goes over our device models and over QEMU's. Each fact is a line
# `guest: ok NAME` or `guest: FAILED NAME`, each figure a line `guest: NAME = VALUE`.
# From the kernel's command line: the driver, this end's address and the peer's, which
# answers pings and returns what is sent to its TCP port 7 when the sender has finished;
# and, for a chip whose every byte the CPU carries, smaller sizes than these.
# shellcheck disable=SC2154
: "$driver" "$address" "$peer"
: "${sizes:=0,8,17,56,100,512,1000,1471,1472,4000}" "${blocks:=64}" "${part:=4}"

# fact NAME COMMAND ...: whether the command succeeds.
fact() {
    name=$1
    shift
    if "$@"; then
        echo "guest: ok $name"
    else
        echo "guest: FAILED $name"
    fi
}

figure() {
    echo "guest: $1 = $2"
}

# within SECONDS COMMAND ...: tries until the command succeeds.
within() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        usleep 100000
    done
}

# The interface of the driver.
interface() {
    for path in /sys/class/net/*; do
        bound=$(readlink "$path/device/driver") || continue
        [ "${bound##*/}" = "$driver" ] && echo "${path##*/}" && return
    done
    return 1
}

is_bound() {
    dev=$(interface)
}

has_carrier() {
    [ "$(cat "/sys/class/net/$dev/carrier" 2>/dev/null)" = 1 ]
}

bring_up() {
    ip addr add "$address/24" dev "$dev" && ip link set "$dev" up && within 20 has_carrier
}

load() {
    modprobe "$driver" && within 5 is_bound
}

# pings COUNT SIZE: that many, the next when the last one was answered; all of them have to be.
pings() {
    answered=$(ping -q -A -c "$1" -s "$2" -W 5 "$peer" |
        sed -n 's/.* \([0-9]*\) packets received.*/\1/p')
    [ "$answered" = "$1" ]
}

# A tenth of a thousand each: less than a frame's minimum, a full frame, and fragments.
thousand_pings() {
    for size in $(echo "$sizes" | tr , ' '); do
        pings 100 "$size" || return 1
    done
}

counter() {
    ethtool -S "$dev" 2>/dev/null | sed -n "s/^ *$1: *//p"
}

is_on() {
    ethtool -k "$dev" | grep -q "^ *$1: on"
}

# transfer FILE: sends it to the peer and compares what comes back.
transfer() {
    timeout 40 nc "$peer" 7 <"$1" >/tmp/back && cmp "$1" /tmp/back
}

interrupts() {
    grep "$dev" /proc/interrupts | while read -r line; do
        count=0
        for word in $line; do
            case $word in
            *[!0-9]*) ;;
            *) count=$((count + word)) ;;
            esac
        done
        figure "interrupts ${line##* }" "$count"
    done
}

offloads() {
    ethtool -K "$dev" tso on tx on rx on >/dev/null 2>&1
    figure segmentation "$(is_on tcp-segmentation-offload && echo on || echo off)"
    figure tx-checksum "$(is_on tx-checksumming && echo on || echo off)"
    figure rx-checksum "$(is_on rx-checksumming && echo on || echo off)"
}

# Another flow a connection, so that several queues have something to do.
several_transfers() {
    dd if=/tmp/data of=/tmp/part bs=64k count="$part" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8; do
        transfer /tmp/part || return 1
    done
}

# The driver's own tests of the chip's registers, EEPROM, interrupts and loopback.
self_test() {
    ethtool -t "$dev" offline >/tmp/self-test
    sed -n 's/^\([A-Z][a-z]*\) test .*\t *\([0-9]*\)$/\1 \2/p' /tmp/self-test |
        while read -r part result; do
            figure "self-test $part" "$result"
        done
    within 20 has_carrier
}

# Under a load of pings, some of which may be lost: afterwards all is as before.
disturb() {
    while :; do
        ping -q -A -c 100 -s 1000 -W 1 "$peer"
    done >/dev/null 2>&1 &
    load=$!
    "$@"
    disturbed=$?
    kill $load
    wait $load 2>/dev/null
    [ $disturbed -eq 0 ] && within 20 has_carrier && within 5 pings 3 56
}

toggle() {
    for _ in 1 2 3; do
        ip link set "$dev" down && ip link set "$dev" up && within 20 has_carrier
    done
}

link_losses() {
    cat "/sys/class/net/$dev/carrier_down_count"
}

has_lost_link() {
    [ "$(link_losses)" -gt "$losses" ]
}

# The link may be back before anybody has looked, so its losses are counted. A chip
# without a link to negotiate says so.
renegotiate() {
    losses=$(link_losses)
    ethtool -r "$dev" || return 0
    within 10 has_lost_link
}

# Through the kernel: configuration space is saved, the function reset, and restored.
reset_function() {
    ip link set "$dev" down
    echo 1 >"/sys/class/net/$dev/device/reset"
    ip link set "$dev" up
}

# A chip that can only be reset by its power states is left alone: the 82540EM does not
# always come back from that under load, for a reason that is not known.
can_be_reset() {
    grep -q flr "/sys/class/net/$dev/device/reset_method" 2>/dev/null
}

reload() {
    rmmod "$(echo "$driver" | tr - _)" && load && bring_up && pings 20 1000
}

fact bind load
figure interface "$dev"
figure address "$(cat "/sys/class/net/$dev/address")"
fact link bring_up
fact thousand-pings thousand_pings
offloads
dd if=/dev/urandom of=/tmp/data bs=64k count="$blocks" 2>/dev/null
fact transfer transfer /tmp/data
fact flows several_transfers
figure segmented "$(counter tx_tcp_seg_good)"
figure queues "$(ethtool -S "$dev" 2>/dev/null | grep -c '^ *rx_queue_[0-9]*_packets: [1-9]')"
fact down-and-up disturb toggle
fact renegotiation disturb renegotiate
fact self-test self_test
if can_be_reset; then
    figure reset "$(cat "/sys/class/net/$dev/device/reset_method")"
    fact function-reset disturb reset_function
fi
interrupts
fact reload reload
fact unload rmmod "$(echo "$driver" | tr - _)"

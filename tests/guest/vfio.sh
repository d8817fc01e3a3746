# shellcheck shell=dash
# A driver of softnet on a chip of the machine's, through vfio-pci: as the document says,
# the card is taken from the kernel's driver, used by softnet, and given back. Runs in a
# guest; the peer pings while softnet has the card, and then says so on the console.
# shellcheck disable=SC2154
: "$driver" "$address" "$peer"

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

card() {
    for path in /sys/bus/pci/devices/*; do
        [ "$(cat "$path/class")" = 0x020000 ] && echo "${path##*/}" && return
    done
    return 1
}

# What the card is bound to.
bound() {
    link=$(readlink "/sys/bus/pci/devices/$card/driver") && echo "${link##*/}"
}

is_bound_to() {
    [ "$(bound)" = "$1" ]
}

unbind() {
    echo "$card" >"/sys/bus/pci/devices/$card/driver/unbind"
}

take() {
    modprobe vfio_iommu_type1
    modprobe vfio-pci
    unbind
    echo vfio-pci >"/sys/bus/pci/devices/$card/driver_override"
    echo "$card" >/sys/bus/pci/drivers_probe
    is_bound_to vfio-pci
}

give_back() {
    unbind
    echo >"/sys/bus/pci/devices/$card/driver_override"
    echo "$card" >/sys/bus/pci/drivers_probe
    is_bound_to "$driver"
}

# Until the peer has seen enough.
serve() {
    /softnet run --nic "vfio:$card" --address "$address/24" --json >/tmp/report 2>/tmp/said &
    served=$!
    for _ in $(seq 100); do
        grep -q 'is up' /tmp/said && break
        kill -0 $served 2>/dev/null || break
        usleep 100000
    done
    echo "guest: serving"
    read -r _ </dev/ttyS0
    kill -INT $served
    wait $served
}

answers() {
    ip addr add "$address/24" dev eth0
    ip link set eth0 up
    for _ in $(seq 20); do
        ping -q -c 1 -W 1 "$peer" >/dev/null && return
    done
    return 1
}

card=$(card)
modprobe "$driver"
fact bound is_bound_to "$driver"
fact taken take
fact served serve
cat /tmp/said
echo "guest: report = $(cat /tmp/report)"
fact given-back give_back
fact answers answers

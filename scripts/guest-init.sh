#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the guest: makes busybox's commands, mounts what every script
# wants, runs the script that a test has put beside it, and switches the machine off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
# Only what the script prints belongs on the console.
echo 1 >/proc/sys/kernel/printk
ip link set lo up
# What the command line says of the test, as softnet.NAME=VALUE.
read -r line </proc/cmdline
for word in $line; do
    case $word in
    softnet.*=*) export "${word#softnet.}" ;;
    esac
done
sh /test
echo "guest: end $?"
poweroff -f

#!/bin/sh
# NVMe over RDMA, the target: a file of 16 MiB as the one namespace of a subsystem, on port 4420 of its address. Serves until it is
# asked to end.
set -e
address=$1
mount -t configfs none /sys/kernel/config 2>/dev/null || true
cd /sys/kernel/config/nvmet
head -c 16777216 /dev/zero >/tmp/disk

mkdir -p subsystems/lab/namespaces/1
echo 1 >subsystems/lab/attr_allow_any_host
echo /tmp/disk >subsystems/lab/namespaces/1/device_path
echo 1 >subsystems/lab/namespaces/1/buffered_io
echo 1 >subsystems/lab/namespaces/1/enable

mkdir ports/1
echo rdma >ports/1/addr_trtype
echo ipv4 >ports/1/addr_adrfam
echo "$address" >ports/1/addr_traddr
echo 4420 >ports/1/addr_trsvcid
trap 'rm -f ports/1/subsystems/lab; rmdir ports/1; exit 0' TERM INT
ln -s /sys/kernel/config/nvmet/subsystems/lab ports/1/subsystems/lab
while :; do sleep 0.1; done

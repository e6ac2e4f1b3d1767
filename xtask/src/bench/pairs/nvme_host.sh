#!/bin/sh
# NVMe over RDMA, the host: connects to the target at this address, writes 64 KiB, reads them again, disconnects.
set -e
nvme connect --transport rdma --traddr "$1" --trsvcid 4420 --nqn lab --nr-io-queues 1 --hostnqn lab-host \
    --hostid 2cd2c43b-a90a-45c1-a8cd-86b33ab273b5
i=0
until [ -b /dev/nvme0n1 ]; do
    i=$((i + 1))
    [ $i -lt 100 ] || { echo "no /dev/nvme0n1" >&2; exit 1; }
    sleep 0.1
done
head -c 65536 /dev/urandom >/tmp/written
dd if=/tmp/written of=/dev/nvme0n1 bs=16384 oflag=direct 2>/dev/null || dd if=/tmp/written of=/dev/nvme0n1 bs=16384 conv=fsync
dd if=/dev/nvme0n1 of=/tmp/read bs=16384 count=4 iflag=direct 2>/dev/null || dd if=/dev/nvme0n1 of=/tmp/read bs=16384 count=4
cmp /tmp/written /tmp/read
nvme disconnect --nqn lab

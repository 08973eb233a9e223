#!/usr/bin/env bash
# The first process of a host: `bed.sh` starts it in new UTS, IPC, network, mount and PID namespaces. It makes a root file
# system of its own, whose changes lie in memory, waits for its network device, starts sshd, and then only collects
# orphans. The host ends with this process.
#   host.sh NAME NUMBER
set -euo pipefail
name=$1 number=$2
: "${bed:?}"

# /proc is still that of the bed: the process number by which the bed knows this host
read -r process _ </proc/self/stat

mkdir -p "$bed/hosts/$name"/{upper,work,root}
cd "$bed/hosts/$name"
# no "index" and the like: the machine's own file system lies below, and other beds use it at the same time
mount -t overlay overlay -o "lowerdir=$bed/layer:/,upperdir=upper,workdir=work" root
cd root
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
for dir in dev/shm tmp run; do mount -t tmpfs -o mode=1777 tmpfs "$dir"; done
mkdir -p "./$bed/shared" "./$bed/bin" "./$bed/cluster"
for part in shared bin cluster; do mount --rbind "$bed/$part" "./$bed/$part"; done
hostname "$name"
pivot_root . .
umount -l .
cd /

ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.01; done
ip address add "10.77.0.$number/24" dev eth0
ip link set eth0 mtu 9000 up
mkdir -p /run/sshd /run/munge
/usr/sbin/sshd -f /etc/bed/sshd_config
echo "$process" >"$bed/shared/.hosts/$name"
sleep infinity &
wait

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
mount -t tmpfs -o mode=755 tmpfs dev # its own: a program that replaces /dev/null replaces this one
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"; done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "dev/${stream#*:}"; done
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
until true 2>/dev/null >/dev/tcp/127.0.0.1/22; do sleep 0.01; done # it goes into the background before it listens
echo "$process" >"$bed/shared/.hosts/$name"
sleep infinity &
wait

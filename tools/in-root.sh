#!/usr/bin/env bash
# Runs a command as root with ROOT as its file system: tools/in-root.sh ROOT FOLDERS COMMAND...
# FOLDERS is a file that names folders of the host to show read-only in ROOT, one a line.
# To be called in mount and pid namespaces of its own, with which all that it mounts vanishes.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tools/lend.sh
. "$repo/tools/lend.sh"

root=$1 folders=$2
shift 2

# A root that is no mount point can be neither changed to nor made a slave, as `ip netns exec` does.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -p "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty net/tun; do
  [ -e "/dev/$device" ] || continue
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

while read -r folder; do
  mkdir -p "$root$folder"
  mount --bind -o ro "$folder" "$root$folder"
done <"$folders"

environment=(HOME=/root USER=root LANG=C.UTF-8 "TERM=${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in $lent_variables; do
  [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done

# Not chroot: in a chroot no user namespace can be made, and a real machine's file system is no chroot.
cd "$root"
pivot_root . mnt
umount -l /mnt
cd /
exec env -i "${environment[@]}" "$@"

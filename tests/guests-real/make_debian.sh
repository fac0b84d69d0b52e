#!/bin/bash
# Make an initial RAM disk with a small Debian in it: compilers, interpreters,
# a JIT, compressors, stress-ng. build/guests-real/debian.cpio.zst is the whole
# of it and wants a guest of 2 GiB; its root stays in build/guests-real/debian.
#
# Needs mmdebstrap and cpio, but no root: packages are unpacked, not set up.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/guests-real
root=$out/debian
mkdir -p "$out"

if [ ! -e "$root/usr/bin/stress-ng" ]; then
    rm -rf "$root"
    mode=--mode=chrootless
    [ "$(id -u)" -eq 0 ] && mode=--mode=root
    mmdebstrap "$mode" --variant=extract --include="busybox-static,stress-ng,\
gcc-multilib,libc6-dev,tcc,python3-minimal,libpython3-stdlib,perl,openssl,\
xz-utils,zstd,sqlite3,nodejs,bash,coreutils,grep,sed" bookworm "$root"
fi
rm -rf "$root"/usr/share/{doc,man,locale,icons,info} "$root"/var/lib/apt
for applet in $("$root/bin/busybox" --list); do
    [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] ||
        ln -s busybox "$root/bin/$applet"
done
[ -e "$root/usr/bin/awk" ] || ln -s ../../bin/busybox "$root/usr/bin/awk"
ln -sf bash "$root/bin/sh" # busybox's would take its own applets first
mkdir -p "$root"/{real,dev,proc,sys,tmp}
cp tests/guests-real/guest/* "$root/real/"

cat >"$root/init" <<'END'
#!/bin/sh
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LC_ALL=C
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
echo 1 >/proc/sys/kernel/panic
t=$(sed -n 's/.*husk\.test="\([^"]*\)".*/\1/p' /proc/cmdline)
sh -c "${t:-sh}"
echo "husk-test: status $?"
busybox poweroff -f
END
chmod 755 "$root/init"
(cd "$root" && find . -print0 | LC_ALL=C sort -z |
    cpio -0 -o -H newc -R 0:0 --quiet) | zstd -q -5 -f -o "$out/debian.cpio.zst"
ls -l "$out/debian.cpio.zst"

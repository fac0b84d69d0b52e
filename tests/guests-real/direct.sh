#!/bin/bash
# direct.sh: a real Debian whose kernel is booted without firmware. In the guest,
# update-grub writes the menu, dpkg installs another kernel, and grub-reboot
# chooses an entry for one boot; each restart must boot what GRUB would, and that
# one by GRUB itself. At the end firmware boots the same kernel with the same
# arguments. HUSK names the binary.
#
# Needs what make_disk.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
husk=$(realpath "${HUSK:-build/release/husk}")
out=build/guests-real
root=$out/direct-tree
disk=$out/direct.img
mkdir -p "$out"
# shellcheck source=tests/func/lib/check.sh
. tests/func/lib/check.sh

show()
{
    tail -n 5 "$out/direct.console" "$out/direct.err" 2>/dev/null
}

# --- A disk with GRUB's own tools and the package of another kernel --------------

if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    mmdebstrap --variant=minbase --include="linux-image-amd64,systemd-sysv,\
udev,dbus,iproute2,grub-pc-bin,grub2-common" bookworm "$root"
    chroot "$root" apt-get -qq update
    chroot "$root" apt-get -qq -y --no-install-recommends --download-only \
        install linux-image-cloud-amd64
    mv "$root"/var/cache/apt/archives/linux-image-[0-9]*.deb "$root/opt/"
    touch "$root/made"
fi
cat >"$root/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=ttyS0,115200"
GRUB_TERMINAL=serial
END
cat >"$root/opt/step.sh" <<'END'
#!/bin/sh
n=$(cat /opt/step 2>/dev/null || echo 0)
echo $((n + 1)) >/opt/step
{
    echo
    echo "direct-test: $n $(uname -r)"
    echo "direct-args: $n $(cat /proc/cmdline)"
    case $n in
    0) update-grub 2>&1 && systemctl reboot ;;
    1) dpkg -i /opt/linux-image-*.deb && systemctl reboot ;;
    3) grub-reboot '1>2' && systemctl reboot ;;
    4) systemctl reboot ;;
    *) systemctl poweroff ;;
    esac
} >/dev/ttyS0
END
chmod 755 "$root/opt/step.sh"
cat >"$root/etc/systemd/system/step.service" <<'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/opt/step.sh
[Install]
WantedBy=multi-user.target
END
ln -sf ../step.service \
    "$root/etc/systemd/system/multi-user.target.wants/step.service"
# It would hang up the line that the steps write to.
ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
DISK_ROOT=$root tests/guests-real/make_disk.sh "$disk" >/dev/null

set +e

# --- Boots ------------------------------------------------------------------------

run() # ARGUMENT...
{
    HUSK_LOG=info timeout 900 "$husk" run -m 1G -d "$disk,format=raw" \
        -s "$out/direct.console" "$@" </dev/null >/dev/null 2>"$out/direct.err"
}

kernels() # the kernels of all steps of the last run
{
    tr -d '\r' <"$out/direct.console" |
        sed -nE 's/^direct-test: ([0-9]+) [0-9.]+-[0-9]+-(.*)$/\1:\2/p' |
        paste -sd ' '
}

arguments() # STEP
{
    tr -d '\r' <"$out/direct.console" | sed -n "s/^direct-args: $1 //p"
}

ways() # how each boot was made
{
    sed -nE 's/.* directly \(GRUB.s default entry .*/direct/p
        s/.*not booted directly but by (SeaBIOS).*/\1/p' "$out/direct.err" |
        paste -sd ' '
}

run
check 'update-grub, then a new kernel: power-off' 0 $?
check 'each kernel was booted at the next restart' \
    '0:amd64 1:amd64 2:cloud-amd64' "$(kernels)"
check 'all of them directly' 'direct direct direct' "$(ways)"
run
check 'grub-reboot: power-off' 0 $?
check 'the other kernel, for one boot' \
    '3:cloud-amd64 4:amd64 5:cloud-amd64' "$(kernels)"
check 'that one by firmware' 'direct SeaBIOS direct' "$(ways)"
check 'because GRUB notes it' 1 "$(grep -c "write 'next_entry'" "$out/direct.err")"
direct=$(arguments 5)
run --firmware bios
check 'by firmware: power-off' 0 $?
check 'the same kernel' '6:cloud-amd64' "$(kernels)"
check 'with the same arguments' "$direct" "$(arguments 6)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]

# shellcheck shell=bash
# What ./tour and ./check need on a Debian or Ubuntu host. Both source this file from the top of the checkout.
# It installs packages that are missing, makes .venv, and changes nothing else.

umask 022
venv=.venv

#: All that the programs need. libvirt-daemon-system, and not a smaller set: it is the one name that brings a
#: libvirtd fit for use on every release. Its service may start; the tour then uses it.
tour_packages=(
    libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils
    python3 python3-venv python3-pip python3-setuptools python3-wheel
    python3-libvirt python3-lxml python3-click
    iproute2 nftables dnsmasq-base e2fsprogs kmod util-linux zstd libisal2 ca-certificates
)

#: What the tests use beyond that.
check_packages=("${tour_packages[@]}" procps openssh-client groff-base swtpm swtpm-tools ovmf zsh
    iptables openvswitch-switch user-mode-linux systemd qemu-block-extra qemu-system-common grub-common fdisk gdisk
    dmsetup xfsprogs xz-utils bzip2 mount)

#: Servers and clients of storage, and the server of ssh, that the tests start by themselves, in namespaces and on kernels of their own.
lab_packages=(lvm2 thin-provisioning-tools open-iscsi tgt vblade aoetools nfs-kernel-server nfs-common rpcbind nfs-ganesha
    nfs-ganesha-vfs libnfs-utils drbd-utils openssh-server)

#: What of them would run, and listen, from now on and after each start of the machine.
lab_units=(rpcbind.socket rpcbind.service nfs-server.service nfs-ganesha.service nfs-ganesha-lock.service tgt.service
    iscsid.socket iscsid.service open-iscsi.service drbd.service)

#: That of ssh, which is touched only where it was installed here: somebody may have come in by it.
ssh_units=(ssh.service ssh.socket)

say() { printf '[setup] %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "'$1' must run as root, and there is no sudo here; become root and try again"
    fi
}

# Of the packages named, those that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        # shellcheck disable=SC2016  # dpkg-query's own variable
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
    done
}

# Whether apt can install every one of the packages named.
apt_knows() {
    local policy
    policy=$(LC_ALL=C apt-cache policy "$@" 2>/dev/null) || return 1
    [ "$(grep -c '^ *Candidate: [^(]' <<<"$policy")" = $# ]
}

apt_get() {
    # In a session of its own: Ctrl-C must not hit dpkg in the middle of its work. It is obeyed when apt has ended.
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 setsid --wait \
        apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null
}

install_packages() {
    local missing name
    command -v apt-get >/dev/null || die "only Debian and Ubuntu are set up by this script; see docs/tutorial.md for others"
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    say "packages to install: ${missing[*]}"
    if ! apt_knows "${missing[@]}"; then
        apt_get update || die "apt-get update failed: is there a network, and are apt's sources right?"
    fi
    for name in "${missing[@]}"; do
        apt_knows "$name" || die "apt knows no package '$name'; on Ubuntu, enable 'universe'"
    done
    if [ -n "$(dpkg --audit 2>/dev/null)" ]; then
        as_root dpkg --configure -a || die "dpkg was interrupted once and cannot go on; see its message above"
    fi
    apt_get install -y --no-install-recommends "${missing[@]}" ||
        { apt_get update && apt_get install -y --no-install-recommends "${missing[@]}"; } ||
        die "apt-get could not install: ${missing[*]}"
}

# Install packages whose services shall not run here. A policy that the administrator has is left as it is.
install_at_rest() {
    local missing unit policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    (
        if [ ! -e "$policy" ]; then
            # shellcheck disable=SC2064  # the path of now
            trap "as_root rm -f '$policy'" EXIT
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
            as_root chmod 755 "$policy"
        fi
        install_packages "${missing[@]}"
    ) || exit 1
    command -v systemctl >/dev/null || return 0
    [[ " ${missing[*]} " != *" openssh-server "* ]] || lab_units+=("${ssh_units[@]}")
    for unit in "${lab_units[@]}"; do
        as_root systemctl disable -q "$unit" 2>/dev/null || true # not all of them are there in each release
    done
}

require_python() {
    local found
    [ -x /usr/bin/python3 ] || return 0 # it comes with the packages
    found=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or newer is needed and this system has $found; use Debian 12, Ubuntu 24.04 or later"
}

# The environment sees the system's packages: python3-libvirt must be of the very version of the libvirt that is
# installed, and one from PyPI would have to be compiled against it. Hence the system's own Python, too.
make_venv() {
    require_python
    if [ -x $venv/bin/python ] && $venv/bin/python -c 'import libvirt, lxml, click, pip' 2>/dev/null; then
        return
    fi
    say "make the virtual environment $venv"
    rm -rf $venv || die "cannot remove $venv; remove it yourself"
    /usr/bin/python3 -m venv --system-site-packages $venv
}

# xmcompat itself, as a user gets it; anew only where a file of it has changed.
install_xmcompat() {
    local sum
    sum=$(find pyproject.toml xmcompat backends network storage migration -type f ! -name '*.pyc' -print0 |
        sort -z | xargs -0 sha256sum | sha256sum)
    [ "$(cat $venv/xmcompat.sum 2>/dev/null)" != "$sum" ] || return 0
    say "install xmcompat into $venv"
    rm -rf build xmcompat.egg-info $venv/xmcompat.sum
    # Without isolation: what builds it is installed, so that nothing is fetched from anywhere.
    $venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall . ||
        die "xmcompat could not be installed into $venv"
    rm -rf build xmcompat.egg-info
    echo "$sum" >$venv/xmcompat.sum
}

# shellcheck shell=bash
#
# Installs what the scripts beside this file need and the machine does not have: Debian packages and a virtual
# environment. Sourced, never run. A machine that has everything is only looked at: no network, no apt-get.

REPO=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$REPO/.venv

# After `su` without `-` root has a user's PATH, and netavark then does not find iptables.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# pyproject.toml's requires-python, as Python compares it.
readonly PYTHON_IS_SUPPORTED='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

# Another apt-get (unattended-upgrades, at boot) holds dpkg's lock for a minute or two; waiting beats failing.
readonly APT_LOCK_WAIT_S=300

say() { printf '%s\n' "$*" >&2; }

die() {
    printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2
    exit "${2:-1}"
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif has sudo; then
        sudo -- "$@"
    else
        die "this needs root, and there is no sudo; run as root: $*"
    fi
}

# --- Debian packages ------------------------------------------------------------------------------------------------

# podman's helpers are not on PATH.
has_helper() {
    local folder
    for folder in /usr/libexec/podman /usr/lib/podman /usr/local/libexec/podman /usr/local/lib/podman; do
        [[ -x $folder/$1 ]] && return
    done
    has "$1"
}

# The sample images hold nothing but busybox, so it must be one that needs no libraries.
has_static_busybox() {
    local busybox
    busybox=$(command -v busybox) || return 1
    ! ldd "$busybox" >/dev/null 2>&1 && [[ $'\n'$("$busybox" --list)$'\n' == *$'\nhttpd\n'* ]]
}

# What sets up the traffic of containers, root's and rootless: Debian 12 has podman 4.3 with netavark 1.4, Debian 13
# podman 5.4 with netavark 1.14, and they use different programs for both.
network_programs() {
    local version=''
    if [[ -r /etc/os-release ]]; then
        version=$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release)
    fi
    if [[ $version == 12 ]]; then
        has iptables || echo iptables
        has slirp4netns || echo slirp4netns
    else
        has nft || echo nftables
        has pasta || echo passt
    fi
}

missing_packages() {
    has podman || echo podman
    has conmon || echo conmon
    has runc || echo runc # the only runtime that Debian has for cgroup v1 and hybrid
    has_helper netavark || echo netavark
    has_helper aardvark-dns || echo aardvark-dns
    has_helper catatonit || echo catatonit
    has newuidmap || echo uidmap
    has fuse-overlayfs || echo fuse-overlayfs
    has ip || echo iproute2
    has_static_busybox || echo busybox-static
    network_programs
    local package
    for package; do
        has "$package" || echo "$package"
    done
}

apt_install() {
    has apt-get || die "these are missing, and there is no apt-get to install them with: $*"
    say "installing Debian packages: $*"
    local -a apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o "DPkg::Lock::Timeout=$APT_LOCK_WAIT_S")
    as_root "${apt[@]}" update </dev/null >&2
    # apt-get prints every package's progress even when told to be quiet; it is of interest only when it fails.
    local output
    output=$(as_root "${apt[@]}" install -y --no-install-recommends "$@" </dev/null 2>&1) ||
        die "apt-get could not install $*:"$'\n'"$output"
}

# install_unstarted PACKAGE...: without the services that Debian would start, on every address and for good.
install_unstarted() {
    local policy=/usr/sbin/policy-rc.d # by its status, 101, Debian's scripts start no service
    if [[ -e $policy ]]; then
        apt_install "$@"
        return
    fi
    # shellcheck disable=SC2064 # as_root's sudo may be gone from PATH by then, the path of the policy is not
    trap "as_root rm -f -- '$policy'" EXIT
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >'$policy' && chmod 755 '$policy'"
    apt_install "$@"
    as_root rm -f -- "$policy"
    trap - EXIT
    local package
    for package; do
        if [[ -d /run/systemd/system && -e /lib/systemd/system/$package.service ]]; then
            as_root systemctl disable --quiet "$package.service"
        fi
    done
}

# Arguments: more packages, each named like the program it is wanted for.
ensure_packages() {
    local -a missing
    mapfile -t missing < <(missing_packages "$@")
    if [[ ${#missing[@]} -gt 0 ]]; then
        apt_install "${missing[@]}"
    fi
}

# --- Python ---------------------------------------------------------------------------------------------------------

python_candidates() {
    printf '%s\n' python3 python3.11 python3.12 python3.13
    local python
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        [[ -x $python ]] && echo "$python"
    done
}

# Prints a Python that we support and that can make virtual environments. Each is tried, because a pyenv shim exists
# for versions that then do not run.
find_python() {
    local python
    while read -r python; do
        if "$python" -c "$PYTHON_IS_SUPPORTED" >/dev/null 2>&1 &&
            "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done < <(python_candidates)
    return 1
}

ensure_python() {
    find_python && return
    apt_install python3 python3-venv
    find_python || die "no Python 3.11, 3.12 or 3.13 is to be found, and Debian's python3 is another one; install one"
}

# Prints what a virtual environment depends on: redone when any of it changes.
venv_stamp() { cat -- "$@" | sha256sum | cut -d ' ' -f 1; }

venv_is_current() {
    local venv=$1 stamp=$2
    [[ -r $venv/.stamp && $(<"$venv/.stamp") == "$stamp" ]] && "$venv/bin/python" -c '' 2>/dev/null
}

# ensure_venv VENV INSTALL FILE...: the environment VENV, filled by the function INSTALL, new when a FILE has changed.
ensure_venv() {
    local venv=$1 install=$2 stamp lock
    shift 2
    stamp=$(venv_stamp "$@")
    venv_is_current "$venv" "$stamp" && return
    [[ -w $REPO ]] || die "$venv is missing or older than its lock, and you may not write there; let the owner run this"
    # One at a time: two that start together would install over each other. The folder itself is the lock.
    exec {lock}<"$REPO"
    flock "$lock"
    if ! venv_is_current "$venv" "$stamp"; then
        local python
        python=$(ensure_python)
        say "installing Python packages into $venv"
        rm -rf -- "$venv"
        "$python" -m venv "$venv"
        echo '*' >"$venv/.gitignore"
        "$install" "$venv/bin/python" -m pip -qq --disable-pip-version-check install
        echo "$stamp" >"$venv/.stamp"
    fi
    exec {lock}<&-
}

install_project() {
    "$@" --require-hashes -r "$REPO/requirements.lock" -r "$REPO/requirements-build.lock"
    "$@" --no-deps --no-build-isolation -e "$REPO"
}

ensure_project_venv() {
    ensure_venv "$VENV" install_project "$REPO/requirements.lock" "$REPO/requirements-build.lock" "$REPO/pyproject.toml"
}

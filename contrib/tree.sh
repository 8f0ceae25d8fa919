# shellcheck shell=bash
#
# A Debian tree, made once with debootstrap and kept. Sourced after bootstrap.sh, never run.

# A tree that is older lacks Debian's updates.
readonly TREE_MAX_AGE_DAYS=7

# ensure_tree CACHE SUITE PACKAGES: CACHE/tree has them. Nobody replaces it while this shell lives, or what inherits from it.
ensure_tree() {
    local lock
    mkdir -p -- "$1"
    # One at a time; and none is replaced while somebody runs in it, who holds the lock as well.
    exec {lock}<"$1"
    flock --shared "$lock"
    tree_is_current "$@" && return
    flock --unlock "$lock"
    flock "$lock"
    tree_is_current "$@" || make_tree "$@"
    flock --shared "$lock"
}

# CACHE/complete says that the tree is, and with which packages.
tree_is_current() {
    local stamp=$1/complete
    [[ -f $stamp && $(<"$stamp") == "$2 $3" && -n $(find "$stamp" -mtime "-$TREE_MAX_AGE_DAYS") ]]
}

make_tree() {
    local cache=$1 suite=$2 packages=$3 mirror tree=$1/tree log=$1/debootstrap.log
    has debootstrap || apt_install debootstrap
    mirror=$(apt_mirror)
    [[ -n $mirror ]] || die "apt has no source of Debian packages to take $suite from; see apt-get indextargets"
    say "unpacking Debian $suite into $tree (a minute or two)"
    rm -rf -- "$cache/complete" "$tree"
    # It mounts /proc in the tree. When it is interrupted, that goes with its namespaces, as does what it started.
    unshare --mount --propagation private --fork --pid --kill-child \
        debootstrap --variant=minbase "--include=$packages" "$suite" "$tree" "$mirror" >"$log" 2>&1 ||
        { tail -n 5 -- "$log" >&2; die "debootstrap failed; all that it said is in $log"; }
    rm -rf -- "$tree"/var/cache/apt/archives/*.deb
    printf '%s\n' "$suite $packages" >"$cache/complete"
}

# The first of apt's sources: the archive itself, of which security and updates are additions.
apt_mirror() {
    # shellcheck disable=SC2016 # apt-get's own variables
    apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
        awk '$2 !~ /-|\// && !found++ { print $1 }'
}

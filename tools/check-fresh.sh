#!/usr/bin/env bash
# Proves the first two commands of the README on a bare machine: builds a Debian root with nothing but Python,
# git and make, clones HEAD into it, and runs `make demo` and `make test` there. Leaves nothing on the host
# but the base of that root in the user's cache. SUITE=... takes another release than Debian 12; it and the
# mirror are those of the host's apt sources. A TMPDIR that allows no programs or devices will not do.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tools/lend.sh
. "$repo/tools/lend.sh"

suite=${SUITE:-bookworm}

is_root || die 'make check-fresh needs root (it builds a root file system); run: sudo make check-fresh'
command -v apt-get >/dev/null || die 'make check-fresh needs a Debian or Ubuntu host (it reads the mirror off apt)'
command -v debootstrap >/dev/null || apt_install debootstrap
git rev-parse -q --verify HEAD >/dev/null || die 'make check-fresh checks what is committed, and nothing is'
[ -z "$(git status --porcelain)" ] || say 'warning: the work tree is dirty; only what is committed is checked'

umask 022
work=$(mktemp -d)
root=$work/root
mkdir "$root"

child=
# inside COMMAND...: runs it in namespaces that take its mounts and processes with them, whatever happens to
# it or to us. In the background, because a shell that waits for a background process hears its traps.
inside() {
  local status=0
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$@" </dev/null &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

clean_up() {
  if [ -n "$child" ]; then
    # The namespace's first process ends only after all others in it have.
    pkill -KILL -P "$child" || kill -KILL "$child" || true
    wait "$child" || true
  fi
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# The base is made anew each month, so that it does not fall far behind the mirror.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/meshnet
base=$cache/base-$suite-$(dpkg --print-architecture)-$(date +%Y%m).tar.gz

make_base() {
  local mirror
  mirror=$(apt_mirror "$suite")
  [ -n "$mirror" ] || die "no apt source of this host holds $suite (SUITE=... takes another release)"
  say "building a bare $suite root by debootstrap, a minute or two (kept in $cache)"
  quietly "$work/debootstrap.log" inside debootstrap --variant=minbase \
    --include=python3,git,make,ca-certificates "$suite" "$root" "$mirror"
  # Neither the mirror nor the resolver is to be recorded.
  rm -f "$root"/etc/apt/sources.list "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/var/log/bootstrap.log
  mkdir -p "$cache"
  rm -f "$cache/base-$suite"-*
  tar -C "$root" -c --exclude='./dev/*' --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' . |
    gzip -1 >"$work/base.tar.gz"
  mv "$work/base.tar.gz" "$base"
  find "$root" -xdev -mindepth 1 -delete
}

# The sources' origin is known only once apt has fetched their release files.
[ -n "$(apt_suites "$suite")" ] || apt-get -qq update || true

SECONDS=0
[ -f "$base" ] || make_base
tar -C "$root" -xzf "$base"
lend_network "$root"
{ lend_apt "$root" "$suite"; lend_pip "$root"; } | sort -u >"$work/folders"
git clone -q --no-local "$repo" "$root/root/meshnet"
say "bare $suite root with a clone of $(git rev-parse --short HEAD) ready in $SECONDS s"

failed=()
for target in demo test; do
  say "make $target in the bare root"
  SECONDS=0
  if inside tools/in-root.sh "$root" "$work/folders" env -C /root/meshnet make "$target"; then
    say "make $target in the bare root: ok, $SECONDS s"
  else
    say "make $target in the bare root: FAILED, $SECONDS s"
    failed+=("make $target")
  fi
done
[ ${#failed[@]} = 0 ] || die "failed in the bare root: ${failed[*]}"
say 'make demo and make test work on a bare machine'

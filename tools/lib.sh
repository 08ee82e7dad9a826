# shellcheck shell=bash
# Shared by the scripts of tools/ and .ci/run: source it first. It moves to the repository's root.

set -euo pipefail

# ip, nft and tcpdump live in sbin, which a user's PATH may lack.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$repo"

say() { printf 'meshnet: %s\n' "$*"; }

# One line on stderr, so that a user sees what to do and nothing else.
die() {
  printf 'meshnet: %s\n' "$*" >&2
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

in_ci() { [ "${CI:-}" = true ]; }

# quietly LOG COMMAND...: keeps the output in LOG and shows the end of it only when the command fails.
quietly() {
  local log=$1 status=0
  shift
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ]; then
    printf 'meshnet: failed (%s): %s\n' "$status" "$*" >&2
    tail -n 25 "$log" >&2
  fi
  return "$status"
}

# apt_install PACKAGE...: names them first. Noninteractive, so that debconf takes its defaults: iperf3's is
# to run no daemon. The lock timeout is for fresh cloud machines, which update themselves at the first boot.
# Packages that bring a service must not start it: the scripts of a package ask policy-rc.d (invoke-rc.d(8)).
apt_install() (
  log=$(mktemp) status=0 policy=/usr/sbin/policy-rc.d made=
  # A subshell, so that this runs however it ends.
  trap 'rm -f "$log" $made' EXIT
  say "installing $* by apt-get"
  if [ ! -e "$policy" ]; then
    made=$policy
    install -m 755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
  fi
  quietly "$log" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update &&
    quietly "$log" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
      install --no-install-recommends "$@" || status=$?
  exit "$status"
)

# number WORD LINE: the number before WORD in a test runner's closing line, 0 if it is not there.
number() {
  if [[ $2 =~ ([0-9]+)\ $1 ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}

#!/usr/bin/env bash
# Installs the Debian packages that a purpose lacks: tools/deps.sh demo|test|tiers
#   demo   what `make demo` runs on
#   test   the light tools of the tests as well
#   tiers  what every tier in the tree needs, heavy ones included (make test-deps)
# It starts no daemon. Where it may not install, one line says what to install.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/lib.sh"

demo_tools='python3-venv iproute2 iputils-ping iperf3'
test_tools='iputils-arping nftables tcpdump'

# tier_tools TIER: what it needs besides the demo's tools. A tier with needs of its own gets its line here.
tier_tools() {
  case $1 in
    netns) echo "$test_tools" ;;
    loopback) echo prometheus ;; # for promtool
  esac
}

# The tools are asked for by what they give, so that other ways of installing them count too.
is_there() {
  case $1 in
    python3-venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' ;;
    iproute2) command -v ip ;;
    iputils-ping) command -v ping ;;
    iperf3) command -v iperf3 ;;
    iputils-arping) command -v arping ;;
    nftables) command -v nft ;;
    tcpdump) command -v tcpdump ;;
    prometheus) command -v promtool ;;
    *) dpkg -s "$1" ;;
  esac >/dev/null 2>&1
}

# lacking PACKAGE...: prints those that are not there.
lacking() {
  local package out=()
  for package; do
    is_there "$package" || out+=("$package")
  done
  echo "${out[*]}"
}

case ${1:-} in
  demo) wanted=$demo_tools ;;
  test) wanted="$demo_tools $test_tools" ;;
  tiers)
    wanted=$demo_tools
    for folder in tests/*/; do
      wanted+=" $(tier_tools "$(basename "$folder")")"
    done
    ;;
  *) die 'usage: tools/deps.sh demo|test|tiers' ;;
esac

# shellcheck disable=SC2086  # a list of package names: it is to be split
read -ra missing <<<"$(lacking $wanted)"
[ ${#missing[@]} != 0 ] || exit 0

if is_root && command -v apt-get >/dev/null; then
  apt_install "${missing[@]}" || die "apt-get could not install ${missing[*]}"
  # A Python that is not the system's gets nothing from python3-venv.
  read -ra missing <<<"$(lacking "${missing[@]}")"
  [ ${#missing[@]} = 0 ] || die "still lacking after installing: ${missing[*]} (is $(command -v "${PYTHON:-python3}") the system's Python?)"
  exit 0
fi

advice="please install: ${missing[*]} (Debian's names; as root, make does it with apt-get)"
# The tests run every tier that can do without the tools; the virtualenv alone is a must.
if [ "$1" = test ] && [[ " ${missing[*]} " != *' python3-venv '* ]]; then
  say "$advice; tests that need them are skipped" >&2
else
  die "$advice"
fi

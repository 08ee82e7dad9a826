#!/usr/bin/env bash
# Makes .venv with this project in it, installed editable: tools/bootstrap.sh demo|test|fuzz
# A second run does nothing: stamps in .venv tell what was installed from which pyproject.toml.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/lib.sh"

python=${PYTHON:-python3}
venv=$repo/.venv

case ${1:-} in
  demo) what=. ;;
  test) what='.[dev]' ;;
  fuzz) what='.[dev,fuzz]' ;;
  *) die 'usage: tools/bootstrap.sh demo|test|fuzz' ;;
esac

for tool in "$python" git make; do
  command -v "$tool" >/dev/null || die "needs $tool: please install it"
done
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  die "needs Python 3.11 or newer, $python is $version (set PYTHON=... to use another)"

if [ "$1" = demo ]; then tools/deps.sh demo; else tools/deps.sh test; fi

# A virtualenv holds absolute paths, so one that was moved or made by another Python is made anew.
made_by="$repo $version"
if [ "$(cat "$venv/.made-by" 2>/dev/null)" != "$made_by" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  say "making .venv with Python $version"
  "$python" -m venv --clear "$venv"
  echo "$made_by" >"$venv/.made-by"
fi

hash=$(sha256sum pyproject.toml | cut -d ' ' -f 1)
if [ "$(cat "$venv/.installed-$1" 2>/dev/null)" = "$hash" ]; then
  exit 0
fi

say "installing meshnet with its dependencies into .venv (log: .venv/install.log)"
SECONDS=0
: >"$venv/install.log" # Now, since what reads it may come before what writes it.
"$venv/bin/python" -m pip install --no-input --disable-pip-version-check -e "$what" \
  >"$venv/install.log" 2>&1 </dev/null &
pip=$!
# The names that pip has come to, as it writes them (the second form is that of a package in a local folder).
tail -n +1 -f --pid="$pip" "$venv/install.log" 2>/dev/null |
  sed -nuE 's/^Collecting ([A-Za-z0-9._-]+).*/  \1/p; s,^Processing .*/([A-Za-z0-9._]+)-[0-9].*,  \1,p'
if ! wait "$pip"; then
  tail -n 25 "$venv/install.log" >&2
  die 'pip could not install meshnet'
fi

# The tests' set holds the demo's, and the fuzzer's that of the tests.
echo "$hash" >"$venv/.installed-$1"
[ "$1" = demo ] || echo "$hash" >"$venv/.installed-demo"
[ "$1" != fuzz ] || echo "$hash" >"$venv/.installed-test"
say "installed in $SECONDS s"

#!/usr/bin/env bash
# Runs the checks and then every tier of tests/ by itself, prints each one's time and what was skipped and
# why; the last line is the sum. `tools/run-tests.sh checks` runs only the checks.
#
# With CI=true a tier of tests/README.md's table in which no test passed is a failure, and so is a skipped
# test, unless its reason begins with "not on this machine:".

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/lib.sh"

bin=$repo/.venv/bin
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

passed=0 failed=0 skipped=0
rows=() skips=() complaints=()

# record NAME SECONDS PASSED FAILED SKIPPED
record() {
  passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $5))
  rows+=("$(printf '%-14s %5d s  %5d passed %4d failed %4d skipped' "$@")")
}

# check NAME COMMAND...: counts as one test; its output matters only when it fails.
check() {
  local name=$1 log=$scratch/$1.log
  shift
  SECONDS=0
  if "$@" >"$log" 2>&1 </dev/null; then
    say "$name: ok, $SECONDS s"
    record "$name" "$SECONDS" 1 0 0
  else
    cat "$log"
    say "$name: FAILED, $SECONDS s"
    record "$name" "$SECONDS" 0 1 0
  fi
}

# skip_reasons LOG: "N REASON" a line, from pytest's -ra lines "SKIPPED [N] place: reason".
skip_reasons() { sed -nE 's/^SKIPPED \[([0-9]+)\] [^ ]+ (.*)$/\1 \2/p' "$1"; }

# tier NAME TARGET...
tier() {
  local name=$1 log=$scratch/$1.log status=0 closing ok bad out count reason
  shift
  say "tier $name"
  SECONDS=0
  "$bin/pytest" --color=no -ra "$@" </dev/null 2>&1 | tee "$log" || status=$?
  closing=$(grep -E '([0-9]+ [a-z]+|no tests ran) in [0-9.]+s' "$log" | tail -n 1 || true)
  ok=$(number passed "$closing")
  bad=$(($(number failed "$closing") + $(number error "$closing")))
  out=$(($(number skipped "$closing") + $(number xfailed "$closing")))

  while read -r reason; do
    complaints+=("$name: $reason")
  done < <(sed -nE 's/^(FAILED|ERROR) (tests.*)$/\2/p' "$log")
  # 5 is pytest's "no tests collected". Anything else that is not 0 failed, even if pytest died uncounted.
  if [ "$status" != 0 ] && [ "$status" != 5 ] && [ "$bad" = 0 ]; then
    complaints+=("$name: pytest ended with $status")
    bad=1
  fi
  while read -r count reason; do
    skips+=("$name: $count x $reason")
    if in_ci && [[ $reason != 'not on this machine:'* ]]; then
      complaints+=("$name: skipped in CI: $reason")
      bad=$((bad + count)) out=$((out - count))
    fi
  done < <(skip_reasons "$log")
  if [ "$ok" = 0 ] && [ "$bad" = 0 ]; then
    none_passed "$name" && bad=1
  fi
  record "$name" "$SECONDS" "$ok" "$bad" "$out"
}

# The tiers that stand in tests/README.md: the first column of its first table.
promised_tiers() {
  [ ! -f tests/README.md ] ||
    awk '/^\|/ { seen = 1; split($0, cell, "|"); if (match(cell[2], /`[^`]+`/))
           print substr(cell[2], RSTART + 1, RLENGTH - 2); next }
         seen { exit }' tests/README.md
}

is_promised() { promised_tiers | grep -qxF "$1"; }

# none_passed NAME: says so; true if that is a failure.
none_passed() {
  if in_ci && is_promised "$1"; then
    complaints+=("$1: stands in tests/README.md, but no test of it passed")
    return 0
  fi
  skips+=("$1: no test passed")
  return 1
}

has_tests() { [ -n "$(find "$1" "${@:2}" \( -name 'test_*.py' -o -name '*_test.py' \) -print -quit 2>/dev/null)" ]; }

# The folders of tests/ that hold tests, the quick ones first, so that a mistake shows early.
tiers_in_tree() {
  local folder
  {
    printf '%s\n' meta unit property vectors
    for folder in tests/*/; do basename "$folder"; done
  } | awk '!seen[$0]++' | while read -r folder; do
    if has_tests "tests/$folder"; then echo "$folder"; fi
  done
}

check ruff "$bin/ruff" check .
check ruff-format "$bin/ruff" format --check .
check mypy "$bin/mypy"
check lint-imports "$bin/lint-imports" --no-logo

if [ "${1:-}" != checks ]; then
  mapfile -t present < <(tiers_in_tree)
  if has_tests tests -maxdepth 1; then
    tier tests tests/test_*.py
  fi
  for name in "${present[@]}"; do
    tier "$name" "tests/$name"
  done
  while read -r name; do
    if [[ " ${present[*]} " != *" $name "* ]]; then
      if none_passed "$name"; then record "$name" 0 0 1 0; fi
    fi
  done < <(promised_tiers)
fi

echo
printf '%s\n' "${rows[@]}"
if [ ${#skips[@]} != 0 ]; then printf 'skipped: %s\n' "${skips[@]}"; fi
if [ ${#complaints[@]} != 0 ]; then printf 'FAILED: %s\n' "${complaints[@]}"; fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]

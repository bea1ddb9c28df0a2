# What the scripts here begin with: a directory $work and processes $pids, which go when the script ends.
# shellcheck shell=bash
set -euo pipefail
work=$(mktemp -d)
pids=()
# What else is to be done then; scripts define it anew.
at_end() { :; }
cleanup() {
  status=$?
  if [ "$status" != 0 ]; then
    echo "FAILED; the logs:"
    tail -n 20 "$work"/*.log 2>/dev/null || true
  fi
  kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  at_end
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT

# Tries until it works, for what nothing can be waited on.
retry() {
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "never worked: $*" >&2
  return 1
}

#!/usr/bin/env bash
# The status page in a real browser, `cproxy top` in a terminal, and Prometheus, which all look at one proxy.
# Usage: tests/page.sh [path of cproxy] [seconds that Prometheus looks]
# With CPROXY_UPDATE=1 it writes the screenshots of docs/images anew.
# Needs chromium-headless-shell (or chromium), prometheus and python3.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
images=
[ -z "${CPROXY_UPDATE:-}" ] || images=$(realpath "$(dirname "$0")/../docs")/images
PYTHONDONTWRITEBYTECODE=1 python3 "$(dirname "$0")/page/main.py" "$cproxy" "$work" "${2:-5}" "$images"

#!/bin/sh
# tools/count-tests: sums, and never takes a bad end for a success.
set -eu
counter=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/meson-logs"
log=$dir/meson-logs/t.json
passed=0
failed=0

# wants SUMS LINE...
wants() {
	want=$1
	shift
	printf '%s\n' "$@" >"$log"
	got=$("$counter" "$log" 2>/dev/null)
	if [ "$got" = "$want" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$*: \"$got\", not \"$want\"" >&2
	fi
}

wants '5 0 0' '{"name": "a", "result": "OK", "stdout": "x\n5 passed, 0 failed\n"}'
wants '1 0 0' '{"name": "a", "result": "OK", "stdout": "silent"}'
wants '1 0 0' '{"name": "a", "result": "OK"}'
wants '5 1 0' '{"name": "a", "result": "FAIL", "stdout": "5 passed, 0 failed\n"}'
wants '5 2 0' '{"name": "a", "result": "FAIL", "stdout": "5 passed, 2 failed\n"}'
wants '0 1 0' '{"name": "a", "result": "TIMEOUT", "stdout": ""}'
wants '0 1 0' '{"name": "a", "result": "ERROR", "stdout": ""}'
wants '0 0 1' '{"name": "a", "result": "SKIP", "stdout": ""}'
wants '7 1 3' '{"name": "a", "result": "OK", "stdout": "7 passed, 0 failed, 2 skipped"}' \
	'{"name": "b", "result": "SKIP"}' '{"name": "c", "result": "INTERRUPT"}'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

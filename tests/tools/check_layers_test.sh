#!/bin/sh
# tools/check-layers finds what it is there for: each wrong tree below must fail at the right line.
set -eu
checker=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

# put FILE TEXT: into a fresh or existing tree
put() {
	mkdir -p "$dir/src/$(dirname "$1")"
	printf '%b' "$2" >"$dir/src/$1"
}

# wants STATUS PATTERN WHAT: then the tree is cleared
wants() {
	status=0
	out=$("$checker" "$dir/src" 2>&1) || status=$?
	if [ "$status" = "$1" ] && printf '%s\n' "$out" | grep -q -e "$2"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s: status %s, not %s, or no "%s" in:\n%s\n' "$3" "$status" "$1" "$2" "$out" >&2
	fi
	rm -rf "$dir/src"
}

put base/err.h ''
put mem/ram.h '#include "base/err.h"\n#include <stdio.h>\n'
put dev/chipset/pic.h '#include "mem/ram.h"\n'
put dev/chipset/pic.c '#include "dev/chipset/pic.h"\n#include "pic.h"\n'
wants 0 '4 files, 0 wrong' 'a good tree'

put base/err.h '/* x */\n#include "mem/ram.h"\n'
put mem/ram.h ''
wants 1 'base/err.h:2: base may not include mem' 'an upward include'

put dev/pic.c '#include "engine/engine.h"\n'
put engine/engine.h ''
wants 1 'dev/pic.c:1: dev may not include engine' 'a device that knows an engine'

put engine/engine.c '\n#include "dev/bus.h"\n'
put dev/bus.h ''
wants 1 'engine/engine.c:2: engine may not include dev' 'an engine that knows a device'

put mem/a.h '#include "mem/b.h"\n'
put mem/b.h '#include "mem/c.h"\n'
put mem/c.h '\n\n#include "mem/a.h"\n'
wants 1 'mem/c.h:3: circle: mem/a.h -> mem/b.h -> mem/c.h -> mem/a.h' 'a circle'

put mem/a.c '#include "mem/gone.h"\n'
wants 1 'mem/a.c:1: no such header: mem/gone.h' 'a header that is not there'

put util/a.c '#include "util/a.h"\n'
put util/a.h ''
wants 1 'layer "util" is not in' 'a folder that is no layer'

mkdir "$dir/src"
wants 1 '0 files' 'an empty tree'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

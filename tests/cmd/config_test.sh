#!/bin/bash
# tests/cmd/config_test.sh LAMINA: options as a JSON file: what --dry-run prints is what --config takes,
# and bad files are refused in one line. No guest runs.
set -u
lamina=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

check() {
	what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "config_test: $what" >&2
	fi
}

run() {
	timeout 300 "$lamina" run "$@" </dev/null
}

# round_trip ARG...: the printed file gives the same file again, by itself and with operands of its own.
round_trip() {
	check "dry run of $*" run --dry-run "$@" >"$dir/one"
	check "from the file of $*" run --config "$dir/one" --dry-run >"$dir/two"
	check "$* comes back changed" cmp "$dir/one" "$dir/two"
}

# has ARG... -- TEXT: the printed file without white space contains the text
has() {
	text=${*: -1}
	set -- "${@:1:$#-1}"
	check "dry run of $* lacks $text" grep -qF -- "$text" <(run --dry-run "$@" | tr -d ' \n')
}

# refuses PATTERN TEXT: a file with this text
refuses() {
	printf '%s' "$2" >"$dir/bad"
	run --config "$dir/bad" --dry-run >"$dir/out" 2>"$dir/err"
	status=$?
	shown=${2:0:60}
	check "$shown: status $status" [ "$status" = 240 ]
	check "$shown: output" [ ! -s "$dir/out" ]
	check "$shown: lines of errors" [ "$(wc -l <"$dir/err")" = 1 ]
	check "$shown: no $1 in: $(cat "$dir/err")" grep -q -e "$1" "$dir/err"
}

touch "$dir/kernel" "$dir/initrd"
mkdir "$dir/share"
truncate -s 1M "$dir/disk"
printf 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFake me@here\n' >"$dir/key.pub"
kernel=(--kernel "$dir/kernel")

round_trip "${kernel[@]}"
round_trip "${kernel[@]}" --initrd "$dir/initrd" --append 'console=ttyS0 quiet "x y"' --cpus 3 --memory 1G
round_trip "${kernel[@]}" --disk "$dir/disk,ro" --disk "$dir/disk,ro" -v "$dir/share:/a" -v "$dir/share:/b:ro" --stats
round_trip "${kernel[@]}" --engine=interp --timeout 30 --name 007 --no-reboot --append $'\xc3\xa4\n\\'
round_trip "$dir/disk"
has "${kernel[@]}" --cpus 1 --cpus 2 '"cpus":2'
has "${kernel[@]}" --name 007 '"name":"007"'
has "${kernel[@]}" --stats '"stats":true'
has "${kernel[@]}" -v "$dir/share:/a" "\"share\":[\"$dir/share:/a\"]"
has "$dir/disk" "\"image\":\"$dir/disk\""

# The command line goes on where the file ends: the last one counts, what may be repeated adds up.
run "${kernel[@]}" --cpus 2 -v "$dir/share:/a" --dry-run >"$dir/base"
has --config "$dir/base" --cpus 4 '"cpus":4'
has --cpus 4 --config "$dir/base" '"cpus":2'
has --config "$dir/base" -v "$dir/share:/b" "\"share\":[\"$dir/share:/a\",\"$dir/share:/b\"]"
check "a file names no files" [ "$(run --config "$dir/base" --dry-run | grep -c 'config\|dry-run')" = 0 ]

refuses 'line 1' '{'
refuses 'no JSON object' '[]'
refuses 'no option is called "cpu"' '{"cpu": 1}'
refuses 'no option is called "config"' '{"config": "x"}'
refuses 'no option is called "dry-run"' '{"dry-run": true}'
refuses '"cpus" is a string or a number' '{"cpus": {}}'
refuses '"cpus" is a string or a number' '{"cpus": 1.5}'
refuses '"cpus" is one value' '{"cpus": [1]}'
refuses 'cpus 0: ' '{"cpus": 0}'
refuses '"stats" is true or false' '{"stats": 1}'
refuses 'duplicate' '{"cpus": 1, "cpus": 2}'
refuses '"command" is an array of strings' '{"command": "ls"}'
refuses '"command" is an array of strings' '{"command": []}'
refuses '"command" is an array of strings' '{"command": [1]}'
refuses '"image" is a string' '{"image": 1}'
refuses '"share" is a string or a number' '{"share": [null]}'
refuses 'larger than 1 MiB' "$(head -c 1100000 /dev/zero | tr '\0' ' ')"
run --config "$dir/none" 2>"$dir/err"
check 'a missing file' grep -q 'No such file' "$dir/err"
run --config "$dir" 2>"$dir/err"
check 'a folder' grep -q 'cannot read it: Is a directory' "$dir/err"
head -c 70000 /dev/zero | tr '\0' a >"$dir/key"
run --ssh-key "$dir/key" "$dir/disk" 2>"$dir/err"
check 'too large a key' grep -q 'it is larger than 64 KiB' "$dir/err"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

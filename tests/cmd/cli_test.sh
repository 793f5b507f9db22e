#!/bin/bash
# tests/cmd/cli_test.sh LAMINA: what the command line does with good and with bad input, without
# running a guest. Every error is one line on standard error, nothing on standard output, status 240.
set -u
lamina=$1
dir=$(mktemp -d)
trap 'chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT
passed=0
failed=0
err_status=240

ok() {
	passed=$((passed + 1))
}

bad() {
	failed=$((failed + 1))
	echo "lamina $*" >&2
}

# runs with a time limit, so that a machine that starts by mistake ends.
try() {
	timeout 300 "$lamina" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
}

# refuses PATTERN ARG...: an error that contains the pattern (basic regular expression)
refuses() {
	pattern=$1
	shift
	try "$@"
	if [ "$status" = $err_status ] && [ ! -s "$dir/out" ] && [ "$(wc -l <"$dir/err")" = 1 ] &&
		grep -q -e "^lamina: .*$pattern" "$dir/err"; then
		ok
	else
		bad "$*: status $status, \"$(head -c 400 "$dir/err")\" lacks \"$pattern\""
	fi
}

# prints PATTERN ARG...: status 0, output that has a line with the pattern, no error
prints() {
	pattern=$1
	shift
	try "$@"
	if [ "$status" = 0 ] && [ ! -s "$dir/err" ] && grep -q -e "$pattern" "$dir/out"; then
		ok
	else
		bad "$*: status $status, \"$(head -c 200 "$dir/err")\", no \"$pattern\""
	fi
}

# holds WHAT COMMAND...: any other condition
holds() {
	what=$1
	shift
	if "$@"; then
		ok
	else
		bad "$what"
	fi
}

XDG_CACHE_HOME=$dir/no-cache
export XDG_CACHE_HOME
echo text >"$dir/file"
mkdir "$dir/folder"
truncate -s 1M "$dir/disk"

# Verbs
refuses 'no verb'
refuses 'unknown verb "rum"; did you mean "run"' rum
refuses 'unknown verb "docter"; did you mean "doctor"' docter
refuses 'unknown verb "xyzzy"; lamina help' xyzzy
prints '^lamina [0-9]*\.[0-9]*\.[0-9]*$' --version
prints '^  run ' help
prints '^  run ' --help
for verb in run doctor completion help; do
	prints "^usage: lamina $verb" "$verb" --help
	prints "^usage: lamina $verb" help "$verb"
	prints "^  $verb " help
done
refuses 'no verb "xyzzy"' help xyzzy

# Unknown and incomplete options
refuses 'unknown option --memroy; did you mean --memory' run --memroy 1
refuses 'unknown option --mem; did you mean --memory' run --mem=1
refuses 'unknown option --xyzzy; lamina run --help' run --xyzzy
refuses 'unknown option -m' run -m 5
refuses 'needs a value: --memory SIZE' run --memory
refuses 'takes no value' run --stats=yes
refuses 'unexpected "ls"; a command' run ls
refuses 'no command behind --' run --
refuses 'unexpected "x"' doctor x
refuses 'unknown option --xyzzy' doctor --xyzzy
prints '^usage' run --memory --help

# Values
for size in 0 1 4095 1K 2097151; do
	refuses "memory $size: .*at least 2M" run --memory "$size"
done
for size in '' x -5 5X 1.5G 5MM ' 5' 0x10 +5; do
	refuses 'memory .*a size is a whole number' run --memory "$size"
done
for size in 1E 2T 99999999999999999999 99999999999999999999E 18446744073709551615; do
	refuses "memory $size: .*at most 1T" run --memory "$size"
done
refuses 'multiple of 4K' run --memory 3000001
# Not with sanitizers, which need terabytes for themselves.
if (ulimit -v 1000000 && "$lamina" --version) >/dev/null 2>&1; then
	(ulimit -v 1000000 && timeout 20 "$lamina" run --memory 2G 2>"$dir/err")
	holds 'a machine larger than ulimit -v' grep -q 'cannot map that much' "$dir/err"
fi
for n in 0 65 1000 -1 two '' 1.5 99999999999999999999; do
	refuses "cpus $n: .*from 1 to 64" run --cpus "$n"
done
for n in 0 -1 1s ''; do
	refuses "timeout $n: .*seconds is a whole number" run --timeout "$n"
done
refuses 'engine xyzzy: no such engine' run --engine xyzzy
refuses 'net xyzzy: the choices are none and user' run --net xyzzy
refuses 'net user: .*no network device yet' run --net user
for name in '' .x 'a b' a/b "$(printf 'a\nb')" "$(printf '%065d' 0)"; do
	refuses 'a name has' run --name "$name"
done

# Files
for option in kernel initrd disk symbols; do
	refuses "$option $dir/none: .*No such file" run --$option "$dir/none"
	refuses "$option $dir/folder: .*irectory" run --$option "$dir/folder"
	refuses "$option /dev/null: .*neither a file nor a block device" run --$option /dev/null
	refuses "$option : .*No such file" run --$option ''
done
refuses 'none,ro: .*No such file' run --disk "$dir/none,ro"
if [ "$(id -u)" != 0 ]; then
	chmod 0 "$dir/file"
	refuses 'cannot read: Permission denied' run --kernel "$dir/file"
	chmod 444 "$dir/disk"
	refuses 'Permission denied; write ".*disk,ro"' run --disk "$dir/disk"
	chmod 644 "$dir/file" "$dir/disk"
fi

# Combinations
refuses '\-\-initrd needs --kernel' run --initrd "$dir/file"
refuses '\-\-disk needs --kernel' run --disk "$dir/disk"
refuses 'default guest only' run --kernel "$dir/file" -- ls
refuses '\-\-tty needs a command' run --tty
refuses '\-\-deterministic needs --cpus 1' run --deterministic --cpus 2
set --
while [ $# -lt 34 ]; do
	set -- "$@" --disk "$dir/disk,ro"
done
refuses 'at most 16 disks' run "$@"
refuses 'at most 2047 bytes' run --append "$(printf '%03000d' 0)"
refuses 'no default guest in .*/no-cache/lamina/guest/current' run
refuses 'no default guest in .*make guest' run -- true
mkdir -p "$dir/bad-cache/lamina/guest/current"
XDG_CACHE_HOME=$dir/bad-cache
manifest=$XDG_CACHE_HOME/lamina/guest/current/manifest.json
echo '{' >"$manifest"
refuses 'manifest.json .*line ' run
echo '{}' >"$manifest"
refuses 'no usable kernel command line' run
echo '{"cmdline": "quiet", "files": {"initrd": {}}}' >"$manifest"
refuses 'its kernel is missing' run
XDG_CACHE_HOME=$dir/no-cache
(unset XDG_CACHE_HOME HOME && "$lamina" run 2>"$dir/err")
holds 'neither XDG_CACHE_HOME nor HOME' grep -q 'neither XDG_CACHE_HOME nor HOME' "$dir/err"

# Not a kernel: found by the machine, before anything runs.
refuses "$dir/file" run --kernel "$dir/file"

# The doctor never hangs and always has an answer.
prints '^--engine auto takes' doctor
prints '^KVM  ' doctor
holds 'no colours outside of a terminal' [ "$(grep -c $'\033' "$dir/out")" = 0 ]
holds 'columns' [ "$(grep -v -e '^--engine auto' -e '^$' "$dir/out" | grep -cv '^.\{14\}  [a-z-]')" = 0 ]

# A full disk
"$lamina" help >/dev/full 2>"$dir/err"
holds 'status of a failed write' [ $? = $err_status ]
holds 'message of a failed write' grep -q 'cannot write to standard output' "$dir/err"

# What is made from the tables
for option in engine cpus memory kernel initrd append disk net timeout name test-devices no-reboot \
	stats trace deterministic lockstep symbols; do
	prints "^  --$option" run --help
	prints "\\\\-\\\\-${option//-/\\\\-}" man
	prints "\\-\\-$option" completion bash
	prints "\\-\\-$option" completion zsh
	prints "\\-l $option" completion fish
done
for value in 240 242 244 246 248 250 252; do
	prints "^  $value " run --help
	prints "^$value\$" man
done
refuses 'which shell' completion
refuses 'which shell' completion tcsh
"$lamina" completion bash >"$dir/completion"
cat >"$dir/complete" <<'BASH'
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_lamina
echo "${COMPREPLY[*]}"
BASH
# completes RESULT WORD...
completes() {
	result=$1
	shift
	holds "completion of $*" [ "$(bash "$dir/complete" "$dir/completion" "$@")" = "$result" ]
}
completes doctor lamina doc
completes '--memory' lamina run --me
completes 'auto interp jit kvm' lamina run --engine ''
completes 'user' lamina run --net u
completes "$dir/disk" lamina run --kernel "$dir/di"
completes 'bash' lamina completion b
completes '' lamina run -- --me

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

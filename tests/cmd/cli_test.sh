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
mkfifo "$dir/pipe"
: >"$dir/empty"

# Verbs
refuses 'no verb'
refuses 'unknown verb "rum"; did you mean "run"' rum
refuses 'unknown verb "docter"; did you mean "doctor"' docter
refuses 'unknown verb "xyzzy"; lamina help' xyzzy
prints '^lamina [0-9]*\.[0-9]*\.[0-9]*$' --version
prints '^  run ' help
prints '^  run ' --help
for verb in run image ps pause resume stop migrate receive doctor completion help; do
	prints "^usage: lamina $verb" "$verb" --help
	prints "^usage: lamina $verb" help "$verb"
	prints "^  $verb " help
done
refuses 'no verb "xyzzy"' help xyzzy

# What is wrong with a long word comes behind it, and must be seen.
long=$(printf '%01000d' 0)
refuses 'lamina help lists them' "$long"
refuses 'lamina help lists them' help "$long"
refuses 'lamina run --help lists them' run "--$long"
refuses 'behind --' run "$long"
refuses 'takes options only' doctor "$long"
refuses '\.\.\.: .*File name too long' run --kernel "$long"
refuses 'unknown verb "a?\[1mb?c"' "$(printf 'a\033[1mb\nc')"

# Unknown and incomplete options
refuses 'unknown option --memroy; did you mean --memory' run --memroy 1
refuses 'unknown option --mem; did you mean --memory' run --mem=1
refuses 'unknown option --xyzzy; lamina run --help' run --xyzzy
refuses 'unknown option -m' run -m 5
refuses 'needs a value: --memory SIZE' run --memory
refuses 'takes no value' run --stats=yes
refuses 'no image "ls": No such file or directory; a command for the guest goes behind --' run ls
refuses 'unexpected "-l"; a command' run ls -l
refuses 'no command behind --' run --
refuses 'no command behind --' run -- ''
refuses '\-\-help takes no value' run --help=yes
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
refuses 'lockstep xyzzy: no such engine' run --lockstep xyzzy
refuses '\-\-engine jit: cannot be used: ' run --kernel "$dir/file" --engine jit --cpus 64
refuses 'lockstep kvm: cannot be used: \|engine kvm neither counts nor traces' \
	run --kernel "$dir/file" --lockstep kvm
refuses 'net xyzzy: the choices are none, user, tap=NAME and socket=PATH' run --net xyzzy
refuses 'mac=: an address looks like' run --net user,mac=1:2
refuses 'first byte of a machine' run --net user,mac=01:00:5e:00:00:01
refuses 'mtu= is a whole number from 68 to 65520' run --net user,mtu=9
refuses 'unknown "speed"' run --net user,speed=1
refuses 'tap needs a value' run --net tap
refuses 'user takes no value' run --net user=1
refuses 'is no IP address' run -p 1.2.3:80:80
refuses 'a port is a number from 1 to 65535' run -p 80:65536
refuses 'it is written as' run --publish 80
refuses 'publishes ports of --net user only' run --net tap=x -p 80:80
refuses 'deterministic has no network' run --deterministic --net user
refuses 'unknown option -q' run -q
refuses 'it is written as cid=N,uds=PATH' run --vsock cid=3
refuses 'cid= is a number from 3' run --vsock cid=2,uds=/tmp/x
# /dev/kvm that others may not open, and none at all
cp "$lamina" "$dir/lamina"
chmod 755 "$dir"
if [ "$(id -u)" = 0 ] && [ -e /dev/kvm ] && [ "$(stat -c %a /dev/kvm)" = 600 ]; then
	setpriv --reuid 65534 --clear-groups "$dir/lamina" run --kernel "$dir/lamina" --engine kvm 2>"$dir/err"
	holds "unreadable /dev/kvm" grep -q 'cannot open /dev/kvm (is this user in group kvm?)' "$dir/err"
else
	echo 'not tried: /dev/kvm that cannot be opened (needs root and one with mode 600)'
fi
if unshare -m true 2>/dev/null; then
	unshare -m sh -c "mount -t tmpfs none /dev && exec $dir/lamina run --kernel $dir/file --engine kvm" \
		2>"$dir/err"
	holds 'no /dev/kvm' grep -q 'this host has no /dev/kvm' "$dir/err"
else
	echo 'not tried: no /dev/kvm (needs a mount namespace)'
fi
refuses 'cpu-model xyzzy: neither default, baseline, v2, v3, host nor a file' run --cpu-model xyzzy
refuses 'cpu-model .*/folder: cannot read it' run --cpu-model "$dir/folder"
refuses "cpu-model $dir/file: line 1: " run --cpu-model "$dir/file"
echo '{"base": "v2", "features": {"avx2": true}}' >"$dir/model"
refuses 'cpu-model .*/model: avx2 needs avx' run --cpu-model "$dir/model"
for name in '' .x 'a b' a/b "$(printf 'a\nb')" "$(printf '%065d' 0)"; do
	refuses 'a name has' run --name "$name"
done

# Machines that run: there is none here.
XDG_RUNTIME_DIR=$dir/runtime
export XDG_RUNTIME_DIR
mkdir -m 700 "$XDG_RUNTIME_DIR"
machine=no-such-machine-$$
for verb in pause resume stop; do
	refuses "no machine named $machine" $verb "$machine"
	refuses 'which machine' $verb
	refuses 'one machine at a time' $verb a b
	refuses '"../a": a name has' $verb ../a
	refuses '"": a name has' $verb ''
done
refuses 'options go before NAME' stop a --timeout 3
for n in -1 1s '' 99999999999; do
	refuses "timeout $n: .*seconds is a whole number" stop --timeout "$n" "$machine"
done
prints '^NAME .*PID .*UPTIME$' ps
prints '^\[' ps --json
mkdir -m 755 "$XDG_RUNTIME_DIR/lamina"
refuses 'lamina is open to others: chmod 700 it' ps
refuses 'lamina is open to others' pause "$machine"
refuses 'lamina is open to others' run --kernel "$dir/file" --name a
rmdir "$XDG_RUNTIME_DIR/lamina"
ln -s "$dir/folder" "$XDG_RUNTIME_DIR/lamina"
refuses 'cannot open the runtime directory' ps
rm "$XDG_RUNTIME_DIR/lamina"
mkdir -m 700 "$XDG_RUNTIME_DIR/lamina"
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' \
	"$XDG_RUNTIME_DIR/lamina/dead.sock"
refuses 'no machine named dead' pause dead
prints '^NAME' ps
holds 'a dead machine leaves nothing' [ ! -e "$XDG_RUNTIME_DIR/lamina/dead.sock" ]

# Migrations
refuses 'which machine, and where to' migrate
refuses 'which machine, and where to' migrate a
refuses "no machine named $machine" migrate "$machine" unix:/x
refuses '\-\-key is needed for TCP' migrate "$machine" localhost:1
refuses '\-\-key is needed for TCP' receive :0
refuses 'where? lamina receive' receive
refuses 'unix:.*/no/dir: cannot listen: No such file' receive "unix:$dir/no/dir"
refuses 'the path of a Unix socket has' receive unix:
for n in 0 -1 x 99999; do
	refuses "downtime $n: .*milliseconds is a whole number" migrate --downtime "$n" a unix:/x
done
echo 0123 >"$dir/key"
chmod 644 "$dir/key"
refuses 'key .*/key: others may read or write it: chmod 600 it' receive --key "$dir/key" :0
chmod 600 "$dir/key"
refuses 'key .*/key: a key has 32 to 128 hexadecimal digits' receive --key "$dir/key" :0
refuses 'key .*/none: cannot read it: No such file' migrate --key "$dir/none" a b:1
echo 00112233445566778899aabbccddeeff >"$dir/key"
for where in x 1234 x:; do
	refuses 'an address is HOST:PORT' receive --key "$dir/key" "$where"
done

# Files
for option in kernel initrd disk symbols; do
	refuses "$option $dir/none: .*No such file" run --$option "$dir/none"
	refuses "$option $dir/folder: .*irectory" run --$option "$dir/folder"
	refuses "$option /dev/null: .*neither a file nor a block device" run --$option /dev/null
	refuses "$option $dir/pipe: .*neither a file nor a block device" run --$option "$dir/pipe"
	refuses "$option : .*No such file" run --$option ''
done
refuses 'none,ro: .*No such file' run --disk "$dir/none,ro"
refuses 'no such property of a disk: "rw"' run --disk "$dir/disk,rw"
refuses 'format=vmdk: the choices are raw and qcow2' run --disk "$dir/disk,format=vmdk"
refuses '"format" takes a value' run --disk "$dir/disk,format"
refuses '"ro" takes no value' run --disk "$dir/disk,ro=1"
refuses 'either ro or ephemeral' run --disk "$dir/disk,ro,ephemeral"
refuses 'No such file' run --disk ",ro"
refuses '1 to 20 bytes' run --disk "$dir/disk,serial=123456789012345678901"
refuses 'a,,b: cannot write: No such file' run --disk "$dir/a,,b"
refuses 'choices are report, stop and enospc' run --on-io-error no
refuses 'usage: lamina image create' image
refuses 'did you mean "convert"' image convrt
refuses 'usage: lamina image info' image info
refuses 'backing-format' image create --backing "$dir/disk" "$dir/new.qcow2"
refuses 'power of two' image create --cluster-size 3K "$dir/new.qcow2" 1M
refuses 'positive multiple of 512' image create "$dir/new.qcow2" 1000
refuses 'such a file already' image create "$dir/disk" 1M
if [ "$(id -u)" != 0 ]; then
	chmod 0 "$dir/file"
	refuses 'cannot read: Permission denied' run --kernel "$dir/file"
	chmod 444 "$dir/disk"
	refuses 'Permission denied; write ".*disk,ro"' run --disk "$dir/disk"
	chmod 644 "$dir/file" "$dir/disk"
fi

# Combinations
refuses '\-\-initrd needs --kernel' run --initrd "$dir/file"
refuses 'default guest only' run --kernel "$dir/file" -- ls
refuses '\-\-tty needs a command' run --tty

# Shared folders.
mkdir "$dir/share"
touch "$dir/share/file"
refuses 'where in the guest' run --share "$dir/share"
refuses 'where in the guest' run -v "$dir/share:ro"
refuses 'No such file' run --share "$dir/none:/mnt"
refuses 'is no folder' run --share "$dir/share/file:/mnt"
refuses 'no folder is named' run --share :/mnt
refuses 'no blanks' run --share "$dir/share:/a b"
refuses 'at most 35 bytes' run --share "$dir/share:/123456789012345678901234567890123456"
refuses 'a share at /mnt already' run -v "$dir/share:/mnt" -v "$dir/share:/mnt:ro"
set --
for n in 1 2 3 4 5 6 7 8 9; do
	set -- "$@" -v "$dir/share:/$n"
done
refuses 'at most 8 shared folders' run "$@"
refuses 'one root only' run --rootfs "$dir/share" --rootfs "$dir/share"
refuses 'is no folder' run --rootfs "$dir/share/file"
refuses 'goes with the default guest' run --rootfs "$dir/share" --kernel "$dir/file"
refuses '\-\-deterministic needs --cpus 1' run --deterministic --cpus 2
refuses '\-\-lockstep needs --cpus 1' run --kernel "$dir/file" --lockstep jit --cpus 2
refuses '\-\-lockstep .*--timeout' run --kernel "$dir/file" --lockstep jit --timeout 2
refuses '\-\-lockstep gives its command no terminal' run --lockstep jit --tty -- true
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
echo text >"${manifest%/*}/vmlinux"
echo '{"cmdline": "quiet", "files": {"vmlinux": {"size": 6}}}' >"$manifest"
refuses 'make guest. .*its kernel is missing, unreadable or not of its size' run
echo '{"cmdline": "quiet", "files": {"vmlinux": {"size": 5}}}' >"$manifest"
refuses 'its initrd is missing' run
rm "$manifest"
mkfifo "$manifest"
refuses 'no default guest in' run
XDG_CACHE_HOME=$dir/no-cache
(unset XDG_CACHE_HOME HOME && "$lamina" run 2>"$dir/err")
holds 'neither XDG_CACHE_HOME nor HOME' grep -q 'neither XDG_CACHE_HOME nor HOME' "$dir/err"

for file in empty file disk; do
	refuses "$dir/$file has no kernel symbols" run --kernel "$dir/file" --symbols "$dir/$file"
done
echo 'ffffffff81000000 T _text' >"$dir/map"
refuses "$dir/file is no kernel" run --kernel "$dir/file" --symbols "$dir/map"

# Not a kernel, or not all of it: found by the machine, before anything runs.
refuses "$dir/file" run --kernel "$dir/file"
refuses "$dir/empty is no kernel" run --kernel "$dir/empty"
refuses "initrd $dir/empty is empty" run --kernel "$dir/file" --initrd "$dir/empty"
refuses "disk $dir/empty: its size, 0 bytes" run --kernel "$dir/file" --disk "$dir/empty"
for size in 4 63 64 200 4096; do
	head -c $size "$lamina" >"$dir/cut"
	refuses "$dir/cut: damaged ELF file: .*\(cut off\|outside the file\)" run --kernel "$dir/cut"
done
# bytes OFFSET OCTAL: into a bzImage with one sector of setup code and 4096 bytes behind it
bytes() {
	printf '%b' "$2" | dd of="$dir/bz" bs=1 seek=$(($1)) conv=notrunc status=none
}
truncate -s 5120 "$dir/bz"
bytes 0x1f1 '\0001'
bytes 0x1f4 '\0000\0001'
bytes 0x1fe '\0125\0252'
bytes 0x202 'HdrS\0017\0002'
bytes 0x211 '\0001'
for size in 616 1023 1024; do
	head -c $size "$dir/bz" >"$dir/cut"
	refuses "$dir/cut: damaged bzImage: cut off inside its setup code" run --kernel "$dir/cut"
done
for size in 1025 5119; do
	head -c $size "$dir/bz" >"$dir/cut"
	refuses "$dir/cut: damaged bzImage: cut off: its header" run --kernel "$dir/cut"
done

# Hosts that give little: one line, and no signal.
(ulimit -f 1 && "$lamina" run --kernel "$dir/file" >"$dir/out" 2>"$dir/err")
holds 'status with ulimit -f 1' [ $? = $err_status ]
holds 'message with ulimit -f 1' grep -q 'File too large' "$dir/err"
if (ulimit -v 1000000 && "$lamina" --version) >/dev/null 2>&1; then
	for n in 4 5 6 8 10 12 16; do
		(ulimit -n $n && "$lamina" run --kernel "$dir/file" >"$dir/out" 2>"$dir/err" </dev/null)
		holds "status with ulimit -n $n" [ $? = $err_status ]
		holds "lines with ulimit -n $n" [ "$(wc -l <"$dir/err")" = 1 ]
	done
fi

# The doctor never hangs and always has an answer.
prints '^--engine auto takes' doctor
prints '^KVM  ' doctor
holds 'no colours outside of a terminal' [ "$(grep -c $'\033' "$dir/out")" = 0 ]
holds 'columns' [ "$(grep -v -e '^--engine auto' -e '^$' "$dir/out" | grep -cv '^.\{14\}  [a-z-]')" = 0 ]

# A full disk
"$lamina" help >/dev/full 2>"$dir/err"
holds 'status of a failed write' [ $? = $err_status ]
holds 'message of a failed write' grep -q 'cannot write to standard output' "$dir/err"

"$lamina" help >&- 2>"$dir/err"
holds 'status without standard output' [ $? = $err_status ]
holds 'message without standard output' grep -q 'cannot write to standard output' "$dir/err"
"$lamina" xyzzy 2>&-
holds 'status without standard error' [ $? = $err_status ]

# What is made from the tables
for option in engine cpus memory kernel initrd append disk net timeout name test-devices no-reboot \
	stats trace deterministic lockstep symbols; do
	prints "^  --$option" run --help
	prints "\\\\-\\\\-${option//-/\\\\-}" man
	prints "\\-\\-$option" completion bash
	prints "\\-\\-$option" completion zsh
	prints "\\-l $option" completion fish
done
for value in 240 242 244 246 248 250 252 254; do
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
completes 'v2 v3' lamina run --cpu-model v
completes 'auto interp jit kvm' lamina run --engine ''
completes 'user' lamina run --net u
completes "$dir/disk" lamina run --kernel "$dir/di"
completes 'bash' lamina completion b
completes '' lamina run -- --me

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

# shellcheck shell=bash
# Shared by guest/build, guest/kernels and bench/: messages, downloads from a Debian archive with a
# private apt (the host's packages and apt state are never touched), taking kernels apart, and disk
# images of a Debian userland.
# Debian archive: the one this machine's apt is configured for, or LAMINA_DEBIAN_MIRROR=URL.

# shellcheck disable=SC2034 # for the scripts that read this file
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lamina
lib_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "$0: $*" >&2
	exit 1
}

say() {
	echo "$0: $*" >&2
}

# need PROGRAM:PACKAGE...
need() {
	local entry missing=
	for entry; do
		[ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}")" ] || missing="$missing ${entry#*:}"
	done
	[ -z "$missing" ] || die "missing programs; install them with: apt-get install$missing"
	PATH=$PATH:/usr/sbin:/sbin
}

# A folder for half-made things in $1, gone when the script ends. The caller holds the lock, so any
# other such folder is of a script that was killed.
make_work_dir() {
	rm -rf "$1"/tmp.*
	work=$1/tmp.$$
	mkdir "$work"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' HUP INT TERM
}

# Prints the URL of the archive whose last folder is $1 (debian or debian-security), as configured.
mirror() {
	if [ -n "${LAMINA_DEBIAN_MIRROR:-}" ]; then
		[ "$1" = debian ] && echo "$LAMINA_DEBIAN_MIRROR"
		return 0
	fi
	# shellcheck disable=SC2016 # apt's own placeholders
	env -u APT_CONFIG apt-get indextargets --no-release-info --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
		sed -nE "s!^(.*/$1(/[0-9TZ]+)?)/? main\$!\\1!p" | sort -u | head -n 1
}

# sources SUITE...: lines for sources.list; a suite ending in -security comes from its own archive.
sources() {
	local suite url signed=
	[ ! -e "$keyring" ] || signed="[signed-by=$keyring] "
	for suite; do
		case $suite in
		*-security) url=$(mirror debian-security) ;;
		*) url=$(mirror debian) ;;
		esac
		# A machine may do without the security archive, not without the main one.
		[ -z "$url" ] || echo "deb $signed$url $suite main"
	done | grep . || die "apt has no Debian archive configured; set LAMINA_DEBIAN_MIRROR=URL"
}

# apt_private DIR ARCH SUITE...: makes or refreshes a private apt in DIR and points apt to it. Fails,
# with a message, when a package list cannot be read.
apt_private() {
	local dir=$1 arch=$2
	shift 2
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	sources "$@" >"$dir/sources.list"
	: >"$dir/status"
	cat >"$dir/apt.conf" <<-CONF
	APT::Architecture "$arch";
	APT::Architectures { "$arch"; };
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	Dir::State "$dir";
	Dir::State::lists "$dir/lists";
	Dir::State::status "$dir/status";
	Dir::Cache "$dir";
	Dir::Cache::archives "$dir/archives";
	Dir::Etc::sourcelist "$dir/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferencesparts "/dev/null";
	CONF
	export APT_CONFIG=$dir/apt.conf
	apt-get -qq -o APT::Update::Error-Mode=any update >"$dir/log" 2>&1 && return
	say "cannot read the package lists: $(first_error "$dir/log")"
	return 1
}

first_error() {
	grep -m 1 -E '^(E|W|Err)' "$1" || tail -n 1 "$1"
}

# fetch_deb PACKAGE[=VERSION|/SUITE] DIR: downloads the package into DIR and prints the file's name.
fetch_deb() {
	(cd "$2" && apt-get -qq download "$1" >log 2>&1) ||
		die "cannot download $1: $(first_error "$2/log")"
	rm "$2/log"
	ls -d "$2/${1%%[=/]*}"_*.deb
}

# real_package META[/SUITE]: the package a kernel meta package stands for.
real_package() {
	local suite=
	case $1 in */*) suite=${1#*/} ;; esac
	apt-cache ${suite:+-t "$suite"} show --no-all-versions "${1%%/*}" 2>/dev/null |
		sed -nE 's/^Depends:.*\b(linux-image-[0-9][^ ,]*).*/\1/p' | grep -m 1 . ||
		die "no package $1 in the archive"
}

# number FILE OFFSET BYTES: a little-endian number.
number() {
	od -An -v -tu"$3" -j "$2" -N "$3" --endian=little "$1" | tr -d ' '
}

# extract_vmlinux BZIMAGE OUT: the ELF kernel inside (Documentation/arch/x86/boot.rst: setup_sects,
# payload_offset, payload_length). Every format but gzip has four bytes of size behind it.
extract_vmlinux() {
	local start length unpack tail=4
	start=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
	length=$(number "$1" 588 4)
	case $(od -An -tx1 -j "$start" -N 4 "$1" | tr -d ' ') in
	02214c18) unpack="lz4 -dc" ;;
	28b52ffd) unpack="zstd -dc" ;;
	fd377a58) unpack="xz -dc" ;;
	5d0000*) unpack="xz --format=lzma -dc" ;;
	425a68*) unpack="bzip2 -dc" ;;
	1f8b*) unpack="gzip -dc" tail=0 ;;
	*) die "$1: unknown compression of the kernel inside" ;;
	esac
	dd if="$1" iflag=skip_bytes,count_bytes skip="$start" count=$((length - tail)) bs=1M status=none |
		$unpack >"$2" ||
		die "$1: cannot unpack the kernel inside"
	[ "$(od -An -tx1 -N 4 "$2" | tr -d ' ')" = 7f454c46 ] || die "$1: what is inside is no ELF file"
}

# module_order KERNEL_ROOT RELEASE MODULE...: the files to load, dependencies first, each once.
module_order() {
	local root=$1 release=$2 module
	shift 2
	for module; do
		# A module that is built in has no file to load: modprobe prints "builtin".
		modprobe -d "$root" -S "$release" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++'
}

# make_cpio DIR OUT: everything in DIR as a reproducible newc archive, uncompressed: the kernel
# then only copies, and the archive is a few hundred KiB.
make_cpio() {
	find "$1" -exec touch -h -d @0 {} +
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --reproducible -R 0:0 -o -H newc) >"$2"
}

# make_userland SUITE PACKAGES TAR: a minimal Debian with these packages (separated by commas) besides,
# from the archives of the private apt in $work/apt. Reproducible: without a format by name
# mmdebstrap clamps and sorts the tar by itself.
make_userland() {
	mmdebstrap --quiet --variant=minbase --include="$2" --architectures=amd64 \
		--aptopt='Apt::Install-Recommends "false"' "$1" "$3" "$work/apt/sources.list" \
		>"$work/log" 2>&1 || die "mmdebstrap failed: $(grep -m 1 -E '^E: ' "$work/log" || tail -n 1 "$work/log")"
}

# compile SOURCE PROGRAM: a static program for a guest.
compile() {
	# The kernel's headers are the host's, behind musl's own.
	musl-gcc -static -Os -s -D_GNU_SOURCE -Wall -Wextra -Wno-unused-result -idirafter /usr/include \
		-idirafter "/usr/include/$(gcc -print-multiarch)" -o "$2" "$1" ||
		die "cannot compile $1"
}

# with_owners FUNCTION HELPER...: runs FUNCTION, which calls these helpers, so that files can have any
# owner: as root, else under fakeroot. FUNCTION sees exported variables only.
with_owners() {
	gcc -shared -fPIC -O1 -D_GNU_SOURCE -o "$work/stat-shim.so" "$lib_dir/stat-shim.c" -ldl ||
		die "cannot compile stat-shim.c"
	export work
	if [ "$(id -u)" = 0 ]; then
		"$1"
	else
		# By text: fakeroot's own shell drops exported functions.
		fakeroot -- bash -euo pipefail -c "$(declare -f "$@"); $1"
	fi
}

# make_ext4 TREE IMAGE SIZE UUID: within with_owners. No date in it is later than SOURCE_DATE_EPOCH.
make_ext4() {
	find "$1" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	LD_PRELOAD=$work/stat-shim.so${LD_PRELOAD:+:$LD_PRELOAD} E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH \
		mke2fs -q -F -t ext4 -b 4096 -m 0 -U "$4" -L lamina \
		-E "hash_seed=$4,lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0" \
		-d "$1" "$2" "$3" >"$work/log"
}

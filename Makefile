# A thin front for meson and ninja; `make help` lists the targets.
BUILD   ?= build
PREFIX  ?= /usr/local
SECONDS ?= 3600
ROUNDS  ?= 5
SOAK    ?= 1200
ARGS    ?=

PACKAGES := build guest $(if $(filter-out 0,$(shell id -u)),guest-user)

.PHONY: bench-net all run check check-fast check-kernels check-crash check-fs check-firmware check-network check-migration check-kvm soak bench fuzz guest kernels install clean help

all: $(BUILD)/build.ninja ## build
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --prefix $(PREFIX) >/dev/null

run: ## install what is missing, build, and boot the default guest to a shell (ARGS: options of run)
	@tools/install-packages $(PACKAGES)
	@$(MAKE) --no-print-directory all guest
	@$(BUILD)/lamina run $(ARGS)

check: ## everything: builds, all tests, sanitizers, checkers, guest boots
	@tools/install-packages $(PACKAGES) check
	@tools/check

check-fast: all ## the tests that take seconds
	@meson test -C $(BUILD) --no-rebuild --suite fast --print-errorlogs --quiet

check-kernels: all ## boot every kernel that guest/kernels fetches
	@tools/install-packages $(PACKAGES)
	@tools/check build kernels

check-kvm: all ## engine kvm in an emulated AMD machine, at length (20 minutes)
	@tools/install-packages $(PACKAGES) check
	@tools/check build kvm

check-fs: all ## shared folders at length: 10^5 files, git, and a build of lamina, in guests (an hour)
	@tools/install-packages $(PACKAGES) check
	@tools/check build fs

check-firmware: all ## every boot by SeaBIOS and OVMF, memory tests to the end (an hour)
	@tools/install-packages $(PACKAGES) check
	@tools/check build firmware

check-network: all ## guests on networks in namespaces: passt, libslirp, tap, published ports, vsock
	@tools/install-packages $(PACKAGES) check
	@tools/check build network

check-migration: all ## live migration between engines, under load, killed, across networks (minutes)
	@tools/install-packages $(PACKAGES) check
	@tools/check build migration

check-crash: all ## kill -9 200 times while guests write and flush (an hour)
	@tools/install-packages $(PACKAGES) check
	@tools/check build crash

soak: all ## Debian's programs beside the host's, then stressors that check themselves for SOAK seconds (1200)
	@tools/install-packages $(PACKAGES)
	@tests/soak/run --stress $(SOAK)

bench-net: all ## the user network beside QEMU: iperf3 both ways, a published web server
	@tools/install-packages $(PACKAGES) bench
	@bench/net --lamina $(BUILD)/lamina --rounds $(ROUNDS) --requests 100000 --json $(BUILD)/bench-net.json

bench: ## benchmarks beside QEMU and Bochs; an hour on a quiet machine (ROUNDS, 5; one alone: bench/run --help)
	@tools/install-packages $(PACKAGES) check bench
	@$(MAKE) --no-print-directory all
	@bench/boot --lamina $(BUILD)/lamina --rounds $(ROUNDS) --json $(BUILD)/bench-boot.json
	@bench/run --lamina $(BUILD)/lamina --rounds $(ROUNDS) --json $(BUILD)/bench-run.json
	@bench/fio --lamina $(BUILD)/lamina --rounds $(ROUNDS) --json $(BUILD)/bench-fio.json
	@bench/report $(BUILD)/bench-run.json $(BUILD)/bench-boot.json

fuzz: ## fuzzers under sanitizers for SECONDS each (3600)
	@[ -e build-sanitize/build.ninja ] || meson setup build-sanitize -Db_sanitize=address,undefined \
		-Db_lundef=false -Dwerror=false >/dev/null
	@ninja -C build-sanitize --quiet
	@LAMINA_FUZZ_SECONDS=$(SECONDS) meson test -C build-sanitize --no-rebuild --suite fuzz -t 0 --verbose

guest: ## build the default guest where it is not there yet
	@guest/build >/dev/null

kernels: ## fetch other kernels for boot tests
	@guest/kernels

install: all ## install under PREFIX (/usr/local)
	@meson configure $(BUILD) --prefix $(PREFIX)
	@meson install -C $(BUILD)

clean: ## remove build directories
	@rm -rf build build-clang build-sanitize

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

# A thin front for meson and ninja; `make help` lists the targets.
BUILD ?= build

.PHONY: all check-fast help
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@meson setup $(BUILD) >/dev/null

check-fast: all
	@meson test -C $(BUILD) --no-rebuild --suite fast --print-errorlogs --quiet

help:
	@grep -E '^[a-z-]+:' Makefile | cut -d: -f1

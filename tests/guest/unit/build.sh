#!/bin/sh
# Assembles a unit guest into a flat image: build.sh SOURCE OUTPUT
set -e
source=$1 output=$2
${CC:-cc} -c -m64 -I "$(dirname "$source")" -o "$output.o" "$source"
ld -m elf_x86_64 -Ttext 0x8000 --oformat binary -o "$output" "$output.o"

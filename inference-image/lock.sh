#!/bin/sh
# Writes the requirement files anew from pyproject.toml: hashes, no index addresses. Needs `uv`.
set -eu
cd "$(dirname "$0")"
lock() {
  uv pip compile --quiet --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
    --no-emit-package yolo-serving --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --custom-compile-command "inference-image/lock.sh" --extra "$1" --output-file "$2" pyproject.toml
}
lock cpu requirements-serve-cpu.txt
lock gpu requirements-serve-gpu.txt
lock train requirements-train.txt
lock test requirements-test.txt
lock publish requirements-publish.txt

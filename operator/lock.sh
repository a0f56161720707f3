#!/bin/sh
# Writes operator/requirements.txt and requirements-dev.txt anew from pyproject.toml: hashes, no index addresses.
# Run it with the Python that the operator runs on (3.11), from anywhere: `operator/lock.sh [pip-compile]`.
set -eu
cd "$(dirname "$0")/.."
compile=${1:-.venv/bin/pip-compile}
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
lock() {
  output=$1
  shift
  CUSTOM_COMPILE_COMMAND=operator/lock.sh "$compile" --quiet --generate-hashes --no-emit-index-url \
    --no-emit-trusted-host --no-emit-find-links --no-emit-options --strip-extras --allow-unsafe \
    --output-file "$output" "$@" pyproject.toml
  # The project itself, which `dev` asks for with its `cli`, is named by its folder; it is not for the lock.
  sed -i '/^# WARNING: pip install will require the following/,/# via modelrelease/d' "$output"
}
lock operator/requirements.txt
lock requirements-dev.txt --extra cli --extra dev

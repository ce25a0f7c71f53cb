#!/bin/sh
# Fills an environment (the first argument) with foreign clients that the tests run, from a lock, or the newest that a list allows (the second).
# The third is the Python that it is made of, unless that is the one of .venv.
set -eu
environment=$1 lock=$2 python=${3:-.venv/bin/python}

# One at a time, as in deploy/install.sh. The lock ends with this script.
exec 9<.
.venv/bin/python -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'

echo "install: filling $environment with clients that the tests run" >&2
"$python" -m venv --clear --without-pip "$environment"
mkdir -p "$(.venv/bin/uv cache dir 2>/dev/null)" 2>/dev/null || export UV_NO_CACHE=1
case $lock in *.lock) set -- --require-hashes --no-deps -r "$lock" ;; *) set -- --upgrade -r "$lock" ;; esac
.venv/bin/uv pip install --quiet --python "$environment/bin/python" "$@" || {
    echo "install: uv could not install; pip tries" >&2
    .venv/bin/python -m pip --disable-pip-version-check --python "$environment/bin/python" install -qq "$@"
}

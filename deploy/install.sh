#!/bin/sh
# Fills .venv with the locked versions. Needs Python >= 3.11 with venv; no root, no compiler, no key.
# An argument or PYTHON names the Python; without either it is the newest that runs.
set -eu

say() { echo "install: $*" >&2; }

# Names are tried by running them: a version manager's stub can be on the PATH and still refuse to run.
runs() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

newest() {
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        if runs "$name"; then echo "$name"; return; fi
    done
}

python=${1:-$(newest)}
if [ -z "$python" ]; then
    say "Python 3.11 or newer is needed: install one, or name it with PYTHON=/path/to/python"; exit 1
elif ! runs "$python"; then
    say "PYTHON=$python does not run or is older than 3.11"; exit 1
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    say "$python has no venv: install it (on Debian and Ubuntu: apt install python3-venv), or name another with PYTHON="; exit 1
fi

# One at a time: `make run` and `make test` may both be the first. The lock ends with this script.
exec 9<.
"$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'

say "filling .venv with the locked packages, about 400 MB: a minute the first time, seconds when they are cached"
# A .venv that an interrupted run left half made, or whose Python has gone, is made anew.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
pip install -qq --require-hashes -r requirements-uv.lock

# Without a home it can write to, uv needs to be told that there is no cache.
mkdir -p "$(.venv/bin/uv cache dir 2>/dev/null)" 2>/dev/null || export UV_NO_CACHE=1
# A terminal shows uv's progress, and not the list of all packages at its end; elsewhere only errors are said.
if [ -t 2 ]; then
    uv() { .venv/bin/python deploy/without_list.py .venv/bin/uv "$@"; }
else
    uv() { .venv/bin/uv --quiet "$@"; }
fi
# uv is several times faster, but does not read pip's settings (a mirror, a certificate): where it cannot, pip does the
# same from the same hashes.
uv pip install --python .venv/bin/python --require-hashes -r requirements.lock || {
    say "uv could not install; pip tries, for some minutes (there are no wheels for musl or Intel Macs)"
    pip install -q --no-deps --require-hashes -r requirements.lock # the lock is whole; pip would look for extras beyond it
}
pip install -qq --no-deps --no-build-isolation -e .

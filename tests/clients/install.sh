#!/bin/sh
# Fills .venv-clients with the foreign clients that the tests run, from tests/clients/requirements.lock.
set -eu

# One at a time, as in deploy/install.sh. The lock ends with this script.
exec 9<.
.venv/bin/python -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'

echo "install: filling .venv-clients with the clients that the tests run, about 110 MB" >&2
.venv/bin/python -m venv --clear --without-pip .venv-clients
mkdir -p "$(.venv/bin/uv cache dir 2>/dev/null)" 2>/dev/null || export UV_NO_CACHE=1
set -- --require-hashes -r tests/clients/requirements.lock
.venv/bin/uv pip install --quiet --python .venv-clients/bin/python "$@" || {
    echo "install: uv could not install; pip tries" >&2
    .venv/bin/python -m pip --disable-pip-version-check --python .venv-clients/bin/python install -qq "$@"
}

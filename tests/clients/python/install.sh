#!/bin/sh
# Fills .clients/NAME with each client in Python here, from its lock. With NEWEST=1 it fills .clients/newest/NAME with the newest versions that its
# list allows. Whatever could not be installed is named, and is no failure: its tests are left out. A list that begins with `# Python >=3.12` is of a
# client that needs such a Python: one on the PATH is taken.
set -eu

for list in tests/clients/python/*.in; do
    client=$(basename "$list" .in)
    home=.clients/$client from=${list%.in}.lock
    if [ "${NEWEST:-}" ]; then
        home=.clients/newest/$client from=$list
    elif cmp -s "$from" "$home/.installed"; then
        continue
    fi
    needs=$(sed -n 's/^# Python //p' "$list") python=
    if [ "$needs" ] && ! python=$(.venv/bin/uv python find --no-python-downloads "$needs" 2>/dev/null); then
        echo "test-clients: $client is left out: it needs Python $needs, and none is on the PATH" >&2; continue
    fi
    mkdir -p "$(dirname "$home")"
    # The lock is the stamp. It is copied last, so that an interrupted install starts again.
    if sh tests/clients/install.sh "$home" "$from" "$python"; then cp "$from" "$home/.installed"; else echo "test-clients: $client could not be installed" >&2; fi
    if [ "${NEWEST:-}" ]; then .venv/bin/uv pip list --quiet --python "$home/bin/python" | grep -i "^${client%index}" >&2 || true; fi
done

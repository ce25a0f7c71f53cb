#!/bin/sh
# Fills .clients/NAME for each folder here with a client in JavaScript, from its lock. With NEWEST=1 it fills .clients/newest/NAME with the newest
# versions that its package.json allows. Whatever could not be installed is named, and is no failure: its tests are left out.
set -eu

if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || ! command -v npm >/dev/null; then
    echo "test-clients: the clients in JavaScript are left out: they need node 20 or newer with npm" >&2; exit 0
fi

# Some ask for node 22, and do all that is tested here with 20: no warnings about it.
npm_install() { (cd "$home" && npm "$@" --ignore-scripts --no-audit --no-fund --loglevel=error); }

# A registry that lacks what other machines need fails `ci`; `install` takes the lock's versions, and leaves those out.
locked() { cp "$source/package-lock.json" "$home" && { npm_install ci 2>/dev/null || npm_install install; }; }

newest() { rm -rf "$home/node_modules" "$home/package-lock.json" && npm_install install && (cd "$home" && npm ls --depth=0); }

for source in tests/clients/node/*/; do
    client=$(basename "$source") home=.clients/$(basename "$source") how=locked
    if [ "${NEWEST:-}" ]; then
        home=.clients/newest/$client how=newest
    elif cmp -s "$source/package-lock.json" "$home/.installed"; then
        continue
    fi
    mkdir -p "$home"
    rm -f "$home/.installed"
    cp "$source/package.json" "$source/.npmrc" "$home"
    echo "install: filling $home" >&2
    # The lock is the stamp. It is copied last, so that an interrupted install starts again.
    if $how; then cp "$source/package-lock.json" "$home/.installed"; else echo "test-clients: $client could not be installed" >&2; fi
done

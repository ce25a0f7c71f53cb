#!/bin/sh
# Fills .clients/ai-6 and .clients/ai-7 with Vercel's AI SDK of these major versions, .clients/codex with OpenAI's Codex, and
# .clients/openai with OpenAI's own client. Without node it says so, and that is no failure.
set -eu

if ! node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || ! command -v npm >/dev/null; then
    echo "test-clients: the clients in JavaScript are left out: they need node 20 or newer with npm" >&2; exit 0
fi
for client in ai-6 ai-7 codex openai; do
    source=tests/clients/node/$client home=.clients/$client
    # The lock is the stamp. It is copied last, so that an interrupted install starts again.
    if cmp -s "$source/package-lock.json" "$home/.installed"; then continue; fi
    mkdir -p "$home"
    cp "$source/package.json" "$source/package-lock.json" "$source/.npmrc" "$home"
    case $client in codex) size="424 MB" ;; *) size="40 MB" ;; esac
    echo "install: filling $home, about $size" >&2
    # Some ask for node 22, and do all that is tested here with 20: no warnings about it.
    (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$source/package-lock.json" "$home/.installed"
done

"""Postgres and Redis: connections, migrations, SQL, Lua scripts and the names of keys."""

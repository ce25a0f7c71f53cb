"""A managed Redis in small: a replica follows a cluster's Valkey and takes its place without what it had not got.

our processes ──► proxy ──► primary ──► link (a proxy) ──► replica
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.local import valkey
from deploy.local.data_dir import make_private, socket_folder
from tests.harness.cluster import Cluster
from tests.harness.proxy import Proxy
from tests.harness.servers import Valkey
from tests.harness.support import eventually_true

IN_STEP = {"role": "slave", "master_link_status": "up", "master_sync_in_progress": "0"}


class Replica:
    """Made by `following`: it has all that the primary has, until the link is cut."""

    def __init__(self, cluster: Cluster, server: Valkey, link: Proxy) -> None:
        self._cluster = cluster
        self._server = server
        self._link = link
        self._primary = cluster.valkey
        self.promoted = False

    async def follow(self) -> None:
        """Wait until it has all of it."""
        await self._primary.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")  # no other replica is waited for
        await self._server.command("REPLICAOF", "127.0.0.1", str(self._link.port))
        await eventually_true(self._is_in_step, "the replica has all that the primary has")

    async def cut_off(self) -> None:
        """What is written from now on does not reach it."""
        await self._link.refuse()

    async def promote(self) -> None:
        """New connections lead to it from now on; those that stand still lead to the old primary, if that lives."""
        await self._server.command("REPLICAOF", "NO", "ONE")
        self._cluster.proxies["redis"].target = self._server.socket
        self._cluster.valkey = self._server
        self.promoted = True

    def cut_some(self, lot: random.Random) -> None:
        """Some processes find out sooner than others that there is a new primary."""
        self._cluster.proxies["redis"].cut(lot)

    async def kill_old_primary(self) -> None:
        """And with it every connection that still led there."""
        await self._primary.kill()
        self._cluster.proxies["redis"].cut()

    async def _is_in_step(self) -> bool:
        ours = await _replication(self._server)
        offsets = ours.get("slave_repl_offset"), (await _replication(self._primary)).get("master_repl_offset")
        return IN_STEP.items() <= ours.items() and offsets[0] == offsets[1]


@asynccontextmanager
async def following(cluster: Cluster, name: str) -> AsyncIterator[Replica]:
    """A replica of the cluster's Valkey that is in step with it. If it was promoted it stays, as the cluster's Valkey."""
    folder = cluster.folder / f"valkey-{name}"
    make_private(folder)
    store = valkey.Valkey(folder, cluster.sockets.enter_context(socket_folder(folder / "valkey")))
    server, link = Valkey(store), Proxy(cluster.valkey.socket)
    await server.start()
    await link.open()
    replica = Replica(cluster, server, link)
    try:
        await replica.follow()
        yield replica
    finally:
        await link.close()
        if not replica.promoted:
            await server.stop()


async def _replication(server: Valkey) -> dict[str, str]:
    text = await server.command("INFO", "replication")
    assert isinstance(text, dict)
    return {name: str(value) for name, value in text.items()}

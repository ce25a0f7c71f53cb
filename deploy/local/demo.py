"""The demo account: created once through the operators' command, and remembered in `DATA_DIR/demo.json`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from deploy.local.child import Program, log_tail, run_to_end
from deploy.local.data_dir import write_private
from deploy.local.errors import StartError

CREDIT_USD = "100"
SCOPES = "inference,read,manage"
COMMAND_S = 60.0


class Demo:
    """The account and key of the person who runs this; `commands` is the environment of the operators' command."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str]) -> None:
        self._file = data_dir / "demo.json"
        self._log = data_dir / "logs" / "demo.log"
        self._environment = environment

    async def account_and_key(self) -> tuple[str, str]:
        """The account and key of the last run if they still exist, otherwise new ones; `StartError` if refused."""
        known = self._read()
        account_id, api_key = known.get("account_id"), known.get("api_key")
        if not account_id or await self._ask("account", "show", account_id) is None:
            account_id, api_key = await self._new_account(), None
        return account_id, api_key or await self.new_key(account_id)

    async def new_key(self, account_id: str) -> str:
        """Create a key and remember it, because it is shown only once."""
        answer = await self._demand("key", "create", account_id, "--name", "demo", "--scope", SCOPES)
        write_private(self._file, {"account_id": account_id, "api_key": answer["key"]})
        return answer["key"]

    async def console_path(self, api_key: str) -> str:
        """The path of a link that opens the console once, signed in as this key."""
        return (await self._demand("key", "link", api_key.split("_")[1]))["path"]

    async def _new_account(self) -> str:
        answer = await self._demand("account", "create", "demo", "--credit", CREDIT_USD)
        write_private(self._file, {"account_id": answer["account_id"], "api_key": None})
        return answer["account_id"]

    def _read(self) -> dict[str, str]:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(document, dict):
                return document
        return {}

    async def _demand(self, *arguments: str) -> dict[str, str]:
        answer = await self._ask(*arguments)
        if answer is None:
            command = f"rebootml {' '.join(arguments)}"
            raise StartError(f"`{command}` failed; its log is {self._log}\n{log_tail(self._log)}".rstrip())
        return answer

    async def _ask(self, *arguments: str) -> dict[str, str] | None:
        """Run the operators' command; None if it refuses."""
        program = Program(
            name="demo",
            command=("rebootml", *arguments, "--json"),
            environment=self._environment,
            log=self._log,
            capture=True,
        )
        try:
            code, output = await run_to_end(program, COMMAND_S)
            return json.loads(output) if code == 0 else None
        except (OSError, ValueError):
            return None

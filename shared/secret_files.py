"""Secrets in files: the variable `NAME_FILE` names a file instead of `NAME`. Files are read again, so that passwords and
keys change without a restart. Their content appears in no error and no log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SUFFIX = "_FILE"
BYTES_MAX = 65_536


def file_variable(name: str) -> str:
    """The name of the variable that names a secret's file."""
    return name + SUFFIX


def secret(name: str, environment: Mapping[str, str]) -> str:
    """The value of `name`, or the content of its file, without surrounding white space; empty if neither is set. Raises
    `ValueError`, which names the variable and the file, if both are set or the file is missing or empty.
    """
    value, file = environment.get(name, "").strip(), environment.get(file_variable(name), "").strip()
    if value and file:
        raise ValueError(f"{name} and {file_variable(name)} are both set: set one of them")
    return read_secret(file_variable(name), Path(file)) if file else value


def read_secret(variable: str, path: Path) -> str:
    """The content of the file. Raises `ValueError`, as `secret` does."""
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX).decode().strip()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{variable}={str(path)!r} cannot be read ({type(error).__name__})") from None
    if not text:
        raise ValueError(f"{variable}={str(path)!r} is empty: it takes a file with the secret in it")
    return text


class RotatingSecret:
    """A secret that is asked for at every connect. While it changes, file and server may disagree for a moment, so the
    value that worked last is a candidate too.
    """

    def __init__(self, variable: str, value: str, path: Path | None) -> None:
        """`value` was read at the start, from the file at `path` if there is one."""
        self._variable = variable
        self._good = value
        self.path = path

    def candidates(self) -> tuple[str, ...]:
        """The values to try, in this order. A file that is empty at the moment is ignored."""
        if self.path is None:
            return (self._good,)
        try:
            now = read_secret(self._variable, self.path)
        except ValueError:
            return (self._good,)
        return tuple(dict.fromkeys((now, self._good)))

    def worked(self, value: str) -> None:
        """Remember the value that the server accepted."""
        self._good = value


class SecretEnvironment(Mapping[str, str]):
    """The environment, in which the secrets `names` have the content of their files as of the last reading."""

    def __init__(self, environment: Mapping[str, str], names: Iterable[str]) -> None:
        """Raises `ValueError`, as `secret` does."""
        self._environment = environment
        self._names = [name for name in names if environment.get(file_variable(name), "").strip()]
        self._secrets = self._read()

    def read_again(self) -> bool:
        """Read the files; True if something has changed. Raises `ValueError`, as `secret` does; then nothing changes."""
        before, self._secrets = self._secrets, self._read()
        return self._secrets != before

    def _read(self) -> dict[str, str]:
        return {name: secret(name, self._environment) for name in self._names}

    def __getitem__(self, name: str) -> str:
        return self._secrets[name] if name in self._secrets else self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._environment, **self._secrets})

    def __len__(self) -> int:
        return len({**self._environment, **self._secrets})

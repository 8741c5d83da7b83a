"""Errors that carry a diagnosis: what happened, to what, and what to do now."""

from __future__ import annotations


class AnlanError(Exception):
    """Base of every error that a user may see; `exit_code` is what the command ends with."""

    exit_code = 1

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}\n  → {self.todo}" if self.todo else self.what


class InputError(AnlanError):
    """A file, option or descriptor that cannot be used: names the file and the path in it."""

    exit_code = 2

    def __init__(self, what: str, todo: str = "", *, file: str = "", path: str = "") -> None:
        where = ": ".join(part for part in (file, path) if part)
        super().__init__(f"{where}: {what}" if where else what, todo)
        self.file = file
        self.path = path
        self.reason = what


class Refused(AnlanError):
    """A safety rule says no."""

    exit_code = 3


class InfrastructureError(AnlanError):
    """A server, file system or network that does not answer as it must."""

    exit_code = 4

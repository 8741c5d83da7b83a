"""Errors of the toolchain; each message says what happened, to what, and what to do now."""


class ToolchainError(Exception):
    """Something the machine must have could not be had."""


class PinError(ToolchainError):
    """The data file is wrong."""


class ChecksumError(ToolchainError):
    """A file that was downloaded is not the file that was pinned."""


class UnreachableError(ToolchainError):
    """A source did not answer; the next one may."""

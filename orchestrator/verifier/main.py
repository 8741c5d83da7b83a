"""What the standalone verifier runs first: it says what is missing, then runs the command.

Every Python 3 must be able to read this file, so that an old one says what it lacks.
"""

import sys


def main() -> int:
    """Run `anlan evidence verify` and end the process with its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036
        return _fail(
            "anlan-verify needs Python 3.11 or newer, this is {}.{}".format(*sys.version_info[:2]),
            "run it by a newer one: python3.11 anlan-verify.pyz …",
        )
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401, PLC0415
    except ImportError as error:
        return _fail(
            "anlan-verify needs the Python package cryptography: {}".format(error),  # noqa: UP032
            "python3 -m pip install cryptography",
        )
    if sys.argv[1:] == ["--version"]:
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write("anlan-verify {}\n".format(version("anlan")))
        return 0
    from orchestrator.cli import run  # noqa: PLC0415
    from orchestrator.cli.verify import verify  # noqa: PLC0415

    return run(verify, None, "anlan-verify")


def _fail(what: str, todo: str) -> int:
    sys.stderr.write("error: {}\n  -> {}\n".format(what, todo))  # noqa: UP032
    return 2


if __name__ == "__main__":
    sys.exit(main())

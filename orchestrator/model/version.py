"""The version of this tool, read once.

Not when it is needed: the standalone verifier is one archive, which `importlib.metadata` keeps
open, and processes that were forked meanwhile would read it over each other.
"""

from importlib.metadata import version

TOOL_VERSION = version("anlan")

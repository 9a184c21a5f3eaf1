"""Checks of a client, each a function whose name is a claim, and one JSON object of what came of them.

    {"versions": {"openai": …}, "checks": [{"name": …, "error": null or why}]}
"""

import json
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version


class Checks:
    """The checks of one script."""

    def __init__(self, *packages: str) -> None:
        self.versions = {name: version(name) for name in packages}
        self.functions: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        self.functions.append(function)
        return function

    def run(self) -> None:
        found = [
            {"name": function.__name__.replace("_", " "), "error": outcome(function)} for function in self.functions
        ]
        json.dump({"versions": self.versions, "checks": found}, sys.stdout)


def outcome(function: Callable[[], None]) -> str | None:
    """Why a check fails, and in which line of the script."""
    try:
        function()
    except Exception as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == sys.argv[0]]
        line = f"line {own[-1].lineno}, `{own[-1].line}`: " if own else ""
        return f"{line}{type(error).__name__}: {error}"
    return None


def equal(found: object, want: object) -> None:
    """Both values stand in the message, which those of a bare `assert` do not."""
    if found != want:
        raise AssertionError(f"found {found!r}, expected {want!r}")


def raises(kind: type[Exception], function: Callable[[], object]) -> Exception:
    """The error of this very type that a call must raise."""
    try:
        found = function()
    except kind as error:
        if type(error) is not kind:
            raise
        return error
    raise AssertionError(f"expected {kind.__name__}, found {found!r}")

"""The one exception for input that the user can mend, and values as its messages show them."""

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100
_SHORT.maxlong = 40
_SHORT.maxlevel = 3


class InputError(ValueError):
    """Bad input: one line that names file, field, value and what was expected.

    `stages.engine.command.run` prints it without a traceback and exits with 1.
    """


def shown(value: object) -> str:
    """A value out of a user's file for a message: one short line without control characters."""
    return _SHORT.repr(value)

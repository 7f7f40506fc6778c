"""Numbers from the environment; one that is wrong is refused before it can do harm."""

import math
import os

from stages.engine.errors import InputError


def read_count(variable: str, default: int) -> int:
    """A whole number, 1 or more; `default` where the variable is not set or empty.

    Raises:
        InputError: it holds something else.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    # int() would also take "1_000" and the digits of other scripts
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise InputError(f"{variable}: expected a whole number, 1 or more, found {text[:80]!r}")
    return int(text)


def read_share(variable: str) -> float:
    """A number from 0 to 1; 0 where the variable is not set or empty.

    Raises:
        InputError: it holds something else.
    """
    text = os.environ.get(variable, "").strip()
    try:
        share = float(text or 0)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(f"{variable}: expected a number from 0 to 1, found {text[:80]!r}")
    return share

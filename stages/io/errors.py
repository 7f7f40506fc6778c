"""The one exception for input that the user can mend."""


class InputError(ValueError):
    """Bad input: one line that names file, field, value and what was expected.

    `stages.io.command.run` prints it without a traceback and exits with 1.
    """

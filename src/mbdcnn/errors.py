"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user gave is wrong: one line saying what, where and the remedy.

    The command line prints the message without a traceback and exits with 1.
    """

"""The one exception whose message is written for the person at the keyboard."""


class TsumuguError(Exception):
    """Something the user can put right: the message says what was wrong, where, and what to do.

    The command line prints it without a traceback and ends with status 1. A programming error
    of ours is never one of these and keeps its traceback.
    """

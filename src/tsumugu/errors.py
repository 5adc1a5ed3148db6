"""The exceptions whose messages are written for the person at the keyboard."""


class TsumuguError(Exception):
    """Something the user can put right: the message says what was wrong, where, and what to do.

    The command line prints it without a traceback and ends with status 1. A programming error
    of ours is never one of these and keeps its traceback.
    """


class Stopped(TsumuguError):
    """The run was asked to stop, and has saved what it had.

    The command line prints it as it is and ends with status 143, as a process that dies of SIGTERM does.
    """

"""The errors that a user can cause. Verbs catch their base class and print one line; anything else is a fault of ours.

A message names the file, field or value, and says what to do. Rooms derive their own errors from these.
"""


class QuarkAudioError(Exception):
    """Base class of every error that a user can cause and act on."""


class UserError(QuarkAudioError, ValueError):
    """Something that was asked for and can't be done; the message says what to do instead."""

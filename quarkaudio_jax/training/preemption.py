"""Graceful stop on SIGTERM and SIGINT."""

import signal

import jax

EXIT_CODES = {"finished": 0, "SIGINT": 130}
"""Exit code by result of a run; `RESTART_EXIT_CODE` for any other signal."""

RESTART_EXIT_CODE = 75
"""Exit code of a preempted run: a launcher should start the same command again (EX_TEMPFAIL of sysexits.h)."""


class Preemption:
    """Turns SIGTERM and SIGINT into a request to save and stop; a second signal acts at once.

    Of several hosts any may get SIGTERM, and all must stop after the same step: JAX handles the signal and propagates it
    to the others.
    """

    def __init__(self) -> None:
        self.requested = ""
        handled = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._old = {s: signal.signal(s, self._request) for s in handled}

    def should_stop(self, step: int) -> bool:
        """Whether to stop before `step`; all hosts must call this at every step."""
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self.requested = "SIGTERM"
        return bool(self.requested)

    def _request(self, number, _frame) -> None:
        if self.requested:
            self.restore()
            signal.raise_signal(number)
        self.requested = signal.Signals(number).name

    def restore(self) -> None:
        """Restores the previous signal handlers."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

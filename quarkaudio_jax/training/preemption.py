"""Being told to stop."""

import signal

import jax

EXIT_CODES = {"finished": 0, "SIGINT": 130}
"""Of a process by how its run ended; `RESTART_EXIT_CODE` for everything else."""

RESTART_EXIT_CODE = 75
"""Saved because the machine is taken away: a launcher should start the same command again (sysexits' EX_TEMPFAIL)."""


class Preemption:
    """Turns SIGTERM and SIGINT into a request to save and stop; a second one acts at once.

    Of several hosts any may be told, and all must stop after the same step: there SIGTERM is left to
    JAX, which tells the others, and `reached` says when.
    """

    def __init__(self):
        self.requested = ""
        alone = jax.process_count() == 1
        self._old = {s: signal.signal(s, self._request) for s in (signal.SIGTERM, signal.SIGINT) if alone}

    def reached(self, step: int) -> bool:
        """Whether to stop before `step`; asked by all hosts at every step."""
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
        """Puts the former handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

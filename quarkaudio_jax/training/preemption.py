"""Being told to stop."""

import signal


class Preemption:
    """Turns SIGTERM and SIGINT into a request to save and stop; a second one acts at once."""

    def __init__(self):
        self.requested = ""
        self._old = {s: signal.signal(s, self._request) for s in (signal.SIGTERM, signal.SIGINT)}

    def _request(self, number, _frame) -> None:
        if self.requested:
            self.restore()
            signal.raise_signal(number)
        self.requested = signal.Signals(number).name

    def restore(self) -> None:
        """Puts the former handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

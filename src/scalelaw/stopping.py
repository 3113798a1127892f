"""Signals that ask a run to stop: collected while it trains, so that it can write its checkpoint first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")  # Windows has the first two


class Received:
    """Signals that came, and the handlers they had before. Where there are any they are a cluster's engine's,
    which requeues the job and exits, or wants it to go on until it is killed."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.before: dict[int, Any] = {}

    def first(self) -> int:
        return self.numbers[0] if self.numbers else 0

    def handed_on(self) -> bool:
        """Whether all that came to this process are dealt with by such handlers; raises what they raise."""
        for number in list(self.numbers):
            handler = self.before[number]
            if not callable(handler) or handler is signal.default_int_handler:
                return False
            handler(number, None)
            self.numbers.remove(number)
            if not self.numbers:
                return True
        return False


@contextmanager
def stop_signals() -> Iterator[Received]:
    """Collect the signals to stop instead of dying of them; a second SIGINT is not waited out."""
    received = Received()
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if received.numbers and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.numbers.append(number)

    for name in STOP:
        if hasattr(signal, name):
            received.before[signal.Signals[name]] = signal.signal(signal.Signals[name], handle)
    try:
        yield received
    finally:
        for number, handler in received.before.items():
            signal.signal(number, handler)

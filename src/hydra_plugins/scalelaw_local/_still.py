"""Imported first by the process that workers are forked from: it looks for no garbage. Modules are none, and
looking through torch's takes a quarter of the time that loading them does. What is forked looks
again (`_worker.settled`)."""

import gc

gc.disable()

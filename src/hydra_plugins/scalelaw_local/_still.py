"""Imported first by the process that workers are forked from: it looks for no garbage. Modules are none, and
looking through torch's takes a quarter of the time that loading them does. Workers look again
(`_worker.work`)."""

import gc

gc.disable()

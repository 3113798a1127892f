import torch

# Tests run side by side in several processes; models this small only lose by more threads.
torch.set_num_threads(1)

# What takes longest begins first, so that at the end no process waits for the other.
LONG = (
    "test_step.py",
    "test_sweep.py",
    "test_conf.py",
    "test_faults.py",
    "test_parallel.py",
    "test_fit_door.py",
)


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))

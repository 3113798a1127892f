import torch

# Tests run side by side in several processes; models this small only lose by more threads.
torch.set_num_threads(1)

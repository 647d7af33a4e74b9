"""One thread: models are small, and threads that wait for one another take the time of other processes."""

import torch

torch.set_num_threads(1)

"""Some steps of the tiny trainer in one process of several, for `torchrun`: `distributed_run.py FILE BATCH_SIZE`."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from tiny_gan import make_trainer


def main() -> None:
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    trainer = make_trainer(batch_size=int(sys.argv[2]), max_epochs=2)
    if "RANK" in os.environ and dist.get_rank() == 1:
        for parameter in trainer.generator.parameters():
            parameter.data += 1.0  # another start: the first process's weights must count
    trainer.run()
    networks = {"generator": trainer.generator, "discriminator": trainer.discriminator}
    state = {name: network.state_dict() for name, network in networks.items()}
    torch.save({**state, "trainer": trainer.state_dict()}, sys.argv[1] + os.environ.get("RANK", ""))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""Commands one after the other in one process of several, for `torchrun`: `shared_run.py JSON`; ends at an error."""

from __future__ import annotations

import json
import sys

import torch

from monai_retina_gen.__main__ import main

if __name__ == "__main__":
    torch.set_num_threads(1)
    for arguments in json.loads(sys.argv[1]):
        if status := main(arguments):
            sys.exit(status)

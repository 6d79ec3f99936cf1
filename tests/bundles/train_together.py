"""Trainings of bundles one after the other in one process of several, for `torchrun`: `train_together.py JSON`.

The JSON is a list of `{"bundle": folder, "port": number, "options": overrides}`.
"""

from __future__ import annotations

import json
import os
import sys

from monai.bundle import run


def main() -> None:
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # each training begins a process group, at a port of its own
    for training in json.loads(sys.argv[1]):
        os.environ["MASTER_PORT"] = str(training["port"])
        configs = os.path.join(training["bundle"], "configs")
        run(
            config_file=[os.path.join(configs, f"{name}.json") for name in ("train", "multi_gpu_train")],
            meta_file=os.path.join(configs, "metadata.json"),
            bundle_root=training["bundle"],
            **training["options"],
        )


if __name__ == "__main__":
    main()

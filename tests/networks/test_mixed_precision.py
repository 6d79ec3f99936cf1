"""bfloat16 autocast is obeyed, whatever the processor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_retina_gen.engines import AutocastInferer
from monai_retina_gen.networks.inputs import bfloat16_autocast


@pytest.mark.parametrize("instructions", [True, False])
@pytest.mark.parametrize(("amp", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_caller_decides_not_the_processor(
    amp: bool, wanted: torch.dtype, instructions: bool, monkeypatch: Any
) -> None:
    found = {"avx512_bf16": instructions, "amx_bf16": instructions}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    seen: list[torch.dtype] = []
    network = torch.nn.Linear(4, 4)
    network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with bfloat16_autocast("cpu", amp):
        network(torch.ones(4, 4))
    assert AutocastInferer(amp)(torch.ones(4, 4), network).dtype == torch.float32
    assert seen == [wanted, wanted]


def test_text_from_a_command_line_is_refused() -> None:
    with pytest.raises(TypeError, match="capital letter"):
        bfloat16_autocast("cpu", "false")  # type: ignore[arg-type]

"""bfloat16 autocast only where it pays."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_retina_gen.networks import mixed_precision
from monai_retina_gen.networks.mixed_precision import bfloat16_autocast, cpu_computes_bfloat16


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({}, torch.bfloat16),  # PyTorch cannot tell
    ],
)
def test_the_cpu_decides(found: dict[str, bool], wanted: torch.dtype, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    cpu_computes_bfloat16.cache_clear()
    with bfloat16_autocast("cpu"):
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == wanted
    cpu_computes_bfloat16.cache_clear()


def test_other_devices_are_taken_at_their_word(monkeypatch: Any) -> None:
    monkeypatch.setattr(mixed_precision, "cpu_computes_bfloat16", lambda: False)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch, "autocast", lambda device, **options: asked.update(options))
    bfloat16_autocast("cuda")
    assert asked["enabled"]
    bfloat16_autocast("cpu")
    assert not asked["enabled"]


def test_text_from_a_command_line_is_refused() -> None:
    with pytest.raises(TypeError, match="capital letter"):
        bfloat16_autocast("cpu", "false")  # type: ignore[arg-type]

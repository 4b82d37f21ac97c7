"""What the target made of a prompt, as a key by which like requests are found: read from its cache, so no forward is run for it.

Source: ToolSpec (arXiv 2604.13519), whose key is the last layer's hidden state at the last prompt token but one. Departures: the
values that the last layer has cached, a linear map of what enters it, which every forward leaves behind and no position turns;
and their mean over the last tokens, since what stands right before an answer is the same template in every request.
"""


import numpy as np

from paceline.core.protocols import Target
from paceline.core.row import Row

__all__ = ["model_of", "state_of"]

RECENT = 64  # tokens at the prompt's end, without the pending one, that are averaged


def model_of(lm: Target) -> str:
    """Whose keys these are, told by its embedding, so that a grown target shares its parent's; "" for what is no model."""
    return f"{lm.fingerprint:08x}" if lm.fingerprint else ""


def state_of(row: Row) -> np.ndarray | None:
    """The key of a row's prompt [H * D], of unit length in fp32; None where the cache holds nothing of it."""
    slot, stop = row.slot, row.prompt_len - 1
    if slot is None or not 0 < stop <= slot.length or not slot.kv.patterns:
        return None
    last, start = max(slot.kv.patterns), max(0, stop - RECENT)
    if slot.kv.start(last, slot) > start:
        return None
    values = slot.kv.read(last, slot, start, stop)[1]
    mean = values.float().mean(1).flatten().cpu().numpy()
    return mean / max(float(np.linalg.norm(mean)), 1e-9)

"""A made-up task of long prompts and answers that need few of their tokens: questions about objects in the frames of a film.

A frame is 16 tokens: eight attributes of an object, each of its own sixteen values and behind the object's name. After all frames
come the names of three objects; the answer says of each what its frame said. Nothing but attention to those three frames can
tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from paceline.objectives.xent import xent
from paceline.train.forward import language
from paceline.train.loop import Loop, Progress, train
from paceline.train.packing import Batch

__all__ = ["ANSWER", "FRAME", "QUESTION", "Film", "film", "trained"]

ATTRIBUTES, VALUES, NAMES, ASKED = 8, 16, 256, 3
ASK, TELL, FIRST_VALUE = 0, 1, 2
FIRST_NAME = FIRST_VALUE + ATTRIBUTES * VALUES
VOCABULARY = FIRST_NAME + NAMES
FRAME = 2 * ATTRIBUTES
QUESTION, ANSWER = ASKED + 2, ASKED * FRAME
LONGEST = 1024 * FRAME + QUESTION + ANSWER
# Frames of a training text, texts of a batch, share of the steps: attention has to become sharper as films become longer.
STAGES = ((4, 24, 0.3), (16, 8, 0.3), (64, 2, 0.2), (128, 1, 0.2))


@dataclass(frozen=True)
class Film:
    """Token ids of the frames and the question, and of the answer."""

    prompt: list[int]
    answer: list[int]


def film(frames: int, random: np.random.Generator) -> Film:
    """A film of so many frames. Objects may come again, but not those that are asked for."""
    order = random.permutation(NAMES)
    asked = random.choice(frames, ASKED, replace=False)
    names = FIRST_NAME + order[random.integers(ASKED, NAMES, frames)]
    names[asked] = FIRST_NAME + order[:ASKED]
    values = random.integers(0, VALUES, (frames, ATTRIBUTES)) + FIRST_VALUE + VALUES * np.arange(ATTRIBUTES)
    shown = np.stack((np.repeat(names[:, None], ATTRIBUTES, 1), values), 2).reshape(frames, FRAME)
    return Film([*shown.flatten().tolist(), ASK, *names[asked].tolist(), TELL], shown[asked].flatten().tolist())


def batch(stages: list[tuple[int, int, int]], seed: int, step: int) -> Batch:
    """The texts of a training step, a function of the seed and the step alone. Frames stand at places drawn from all that a long
    film has, so that the positions of long films are learned from short ones.
    """
    frames, rows = next((frames, rows) for frames, rows, end in stages if step < end)
    random = np.random.default_rng([seed, step])
    films = [film(frames, random) for _ in range(rows)]
    tokens = torch.tensor([f.prompt + f.answer for f in films])
    labels = torch.full_like(tokens, -100)
    labels[:, -ANSWER - 1 : -1] = tokens[:, -ANSWER:]
    positions = torch.from_numpy(np.stack([places(frames, random) for _ in films]))
    return Batch(tokens, labels, positions, torch.zeros_like(tokens))


def places(frames: int, random: np.random.Generator) -> np.ndarray:
    """Positions of a text whose frames lie anywhere in a film that may be much longer."""
    most = round(np.exp(random.uniform(np.log(frames), np.log(1024))))
    starts = np.sort(random.choice(most, frames, replace=False)) * FRAME
    shown = (starts[:, None] + np.arange(FRAME)).flatten()
    return np.concatenate((shown, shown[-1] + 1 + np.arange(QUESTION + ANSWER)))


def trained(folder: Path, steps: int, seed: int, report: Callable[[Progress], None] = lambda progress: None) -> PreTrainedModel:
    """A small target that answers, of four layers with keys of 8 KB a token: from about 2,000 tokens on it mostly reads keys."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=LONGEST + 64, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ))  # fmt: skip
    ends = np.cumsum([share for *_, share in STAGES])
    stages = [(frames, rows, max(1, round(steps * end))) for (frames, rows, _), end in zip(STAGES, ends, strict=True)]
    train(model, partial(batch, stages, seed), language(model, xent), Loop(folder, steps), report=report)
    return model.eval()

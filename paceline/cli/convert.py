"""`paceline convert`: a model as a GGUF file with rounded weights, for llama.cpp and for Paceline, or as a hybrid model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from paceline.cli._flags import argument, flag
from paceline.cli._output import check_writable, say, write_json
from paceline.core.progress import waiting

if TYPE_CHECKING:
    from paceline.convert.loss import Loss

__all__ = ["convert"]

EACH = 4  # texts of a kind


@dataclass(frozen=True)
class Options:
    """What `paceline convert` may be told."""

    model: str = argument(..., "zoo:NAME, smol, a hub id, a folder, or a GGUF file, which is rounded anew.", "MODEL")
    out: str = flag(..., "The file to write, FILE.gguf; with --selector a folder.")
    selector: str | None = flag(None, "Cut the layers that this selector finds lazy on many texts, like lighttransfer:keep=0.5.")
    prompts: str | None = flag(None, 'With --selector: JSON-lines file of {"prompt": …, "answer": …} to look at; the answer may '
                                     "be left out where prompts are long. Else texts made here.")
    context: int = flag(2048, "With --selector: tokens of each text.")
    weights: str = flag("q4_1", "q4_1, q4_0, q8_0, bf16, f16 or f32; with 4 bits the embedding and the head get 8.")
    loss: bool = flag(True, "Compare the file's model with the original on the shipped prompts.", "--loss/--no-loss")
    json: str | None = flag(None, "Write what was done to a file, or to the terminal with -.")


def convert(options: Options) -> None:
    """Write a model as a GGUF file, its weights rounded to 4 or 8 bits, that llama.cpp opens and Paceline too."""
    if options.selector is not None:
        _hybrid(options)
        return
    if not options.out.endswith(".gguf"):
        raise typer.BadParameter(f"--out expects a name that ends in .gguf; found {options.out}.")
    check_writable(options.out, "--out")
    check_writable(options.json)
    from paceline.convert.gguf import convert as written

    with waiting(f"converting {options.model}"):
        count = written(options.model, Path(options.out), options.weights)
    size = Path(options.out).stat().st_size
    say(f"{options.out}: {count / 1e6:.4g} M weights in {size / 1e6:.4g} MB, {8 * size / count:.3g} bits each")
    lost = compared(options.model, options.out) if options.loss else None
    if lost:
        say(f"On the shipped prompts: {lost}.")
    if options.json:
        write_json({"model": options.model, "out": options.out, "weights": options.weights, "count": count, "bytes": size,
                    "loss": lost and lost._asdict()}, options.json)


def _hybrid(options: Options) -> None:
    """Write a model with some layers cut for good."""
    if options.out.endswith(".gguf"):
        raise typer.BadParameter(f"--out expects a folder, since GGUF has no windows for each layer; found {options.out}.")
    check_writable(options.json)
    from paceline.bench.long_prompts import LONG_KINDS, long_prompts
    from paceline.bench.tasks import read_prompts
    from paceline.convert.hybrid import convert as written

    made = (prompt for kind in LONG_KINDS for prompt in long_prompts(kind, options.context)[:EACH])
    prompts = read_prompts(Path(options.prompts)) if options.prompts else made
    with waiting(f"converting {options.model}"):
        texts = [(prompt.text or "\n".join(prompt.turns)) + prompt.answer for prompt in prompts]
        found = written(options.model, Path(options.out), options.selector, texts, options.context)
    short = f", {found.short} were too short" if found.short else ""
    say(f"{options.out}: layers {', '.join(map(str, found.cut))} keep the first and the last keys alone, told by {found.texts} "
        f"texts{short}. NOT LOSSLESS: it is another model. Stock transformers opens it, without the first keys.")
    if options.json:
        write_json({"model": options.model, "out": options.out, "selector": options.selector, **found._asdict()}, options.json)


def compared(model: str, out: str) -> Loss | None:
    """The file's model, as it will be decoded, beside the original computed in floats; None where there is no tokenizer."""
    from paceline.bench.tasks import bare, builtin
    from paceline.convert.loss import MOST, logits_of, loss, pooled
    from paceline.lm.load import load, resolve
    from paceline.lm.sources.gguf import gguf_in

    with waiting("comparing with the original"):
        original = load(model, activations="float" if gguf_in(Path(resolve(model))) else None)
        if original.tokenizer is None:
            return None
        texts = [bare(original.tokenizer, prompt)[:MOST] for kind in ("code", "math", "prose") for prompt in builtin(kind)]
        before, after = logits_of(original), logits_of(load(out))
        return pooled([loss(before(ids), after(ids), ids) for ids in texts if len(ids) > 1])

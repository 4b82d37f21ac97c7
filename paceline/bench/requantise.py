"""The same model as a GGUF file whose linear weights are in another format: rivals are quick on some and slow on others.

Q4_0 is the one that llama.cpp repacks for wide registers; Q4_1 it does not. Requantising loses something, and all methods read
the file that came out. The package gguf quantises; K types it can only read, so those are not among the formats here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paceline.errors import ModelError, RequestError, did_you_mean

__all__ = ["FORMATS", "check_format", "requantise"]

FORMATS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")


def check_format(name: str | None) -> None:
    """Raise RequestError for a format that no file can be brought to."""
    if name is not None and name not in FORMATS:
        raise RequestError(f"There is no format {name!r} to requantise to.{did_you_mean(name, FORMATS)}")


def requantise(source: Path, kind: str, out: Path) -> None:
    """Write `source` anew to `out`, the matrices of its layers in this format; all else as it was. Raises ModelError for
    widths that are no multiple of the format's block.
    """
    import gguf

    reader, target = gguf.GGUFReader(source), gguf.GGMLQuantizationType[kind.upper()]
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    _copy_fields(reader, writer, gguf)
    for tensor in reader.tensors:
        data, form = tensor.data, tensor.tensor_type
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            data, form = _quantised(gguf, tensor, target), target
        writer.add_tensor(tensor.name, data, raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _quantised(gguf: Any, tensor: Any, target: Any) -> Any:
    try:
        return gguf.quants.quantize(gguf.quants.dequantize(tensor.data, tensor.tensor_type), target)
    except gguf.quants.QuantError as error:
        raise ModelError(f"{tensor.name} cannot be brought to {target.name}: {error}.") from error


def _copy_fields(reader: Any, writer: Any, gguf: Any) -> None:
    """All but what the writer says itself, and the name of the format, which no longer holds."""
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)

"""What the doctor says of a file's block types."""

from __future__ import annotations

from paceline.doctor.report import formats


def test_block_types_are_told_with_what_they_grew_to() -> None:
    found = {"Q4_K": {"file_bytes": 60_000_000, "bytes": 61_000_000, "bits": 4},
             "Q6_K": {"file_bytes": 40_000_000, "bytes": 52_000_000, "bits": 8}}
    [said] = formats({"formats": found, "activations": "int8", "context": 8192})
    assert said == ("The file's blocks are held exactly: Q4_K (60 MB) in 4 bits, Q6_K (40 MB) in 8 bits; 13% more bytes than in "
                    "the file. Activations are rounded to int8, the context is 8,192 tokens.")
    assert formats({"context": 8192}) == []

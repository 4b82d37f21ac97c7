"""Controllers: which drafter a row uses this round and how many nodes it may have scored. Numbers and ids only; no torch."""

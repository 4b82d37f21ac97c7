"""Rules: given the target's laws on a tree, which nodes are kept and what comes next. One file each."""

"""The commands of `x2vlm` and of `tools/`: one file each, arguments and output only."""

"""Labelled configurations: read, check, split, import from other programs, label by DFT."""

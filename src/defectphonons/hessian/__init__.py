"""Second derivatives of a MACE's energy: of single layers, and as a sum of terms of single atoms."""

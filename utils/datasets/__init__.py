"""Readers of data sets: whatever form the files have, `Faces` come out."""

"""Weights that PyTorch has pickled, read without PyTorch and without running anything.

A pickle is a program for a small machine that may name any function and have it called. Here is a machine of
its own (``machine``), which knows the instructions that weights need (``instructions``) and imports nothing:
a name is looked up in a table (``names``), whose entries make records of ``storages`` alone. Whatever else
a file asks for is an error that says what that was. ``layouts`` finds the numbers in the two layouts of
``torch.save``, and ``state_dict`` the tensors by name.
"""

from __future__ import annotations

from sdgen.checkpoints.pickles.state_dict import is_pickle, read_pickle, read_pickle_texts

__all__ = ["is_pickle", "read_pickle", "read_pickle_texts"]

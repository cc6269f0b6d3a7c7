"""Fuzzers of what sdgen reads: each input is read, or refused by one of sdgen's exceptions, within bounds.

A fuzzer is a *target*, a function of a folder that reads what is in it (module level, so that another process
can import it), and a *maker*, a function of a ``random.Random`` and an empty folder that writes an input
there. ``conftest.fuzz`` runs makers for ``--fuzz-inputs`` inputs and ``conftest.try_out`` single ones;
``runner`` says what counts as a finding.
"""

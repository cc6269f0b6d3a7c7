"""Arithmetic on the pictures and masks that requests start from: NumPy and Pillow, no networks."""

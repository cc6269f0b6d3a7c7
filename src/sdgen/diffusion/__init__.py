"""Noise schedules, sampler tables and noise, in NumPy alone."""

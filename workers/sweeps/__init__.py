"""Sweeps: periodic clean-up. Most of it is done by one worker at a time, under an advisory lock."""

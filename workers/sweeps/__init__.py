"""Sweeps: periodic clean-up. For most sweeps, only one worker at a time does them, under an advisory lock."""

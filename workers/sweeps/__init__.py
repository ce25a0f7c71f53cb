"""Sweeps: periodic clean-up that one worker does at a time, under an advisory lock."""

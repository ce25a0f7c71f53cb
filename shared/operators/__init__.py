"""Operators: who they are, what they have changed, and what they have switched off."""

"""Operators: their accounts and tokens, the log of their changes, and what they have switched off."""

"""Tests that kill, stop and cut."""

"""The simulator speaks the vendors' wire protocols, and refuses what they refuse."""

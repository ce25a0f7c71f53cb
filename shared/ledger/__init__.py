"""Money: holds, settlements, accounts and the keys that may spend."""

"""What the front door and the workers both stand on: errors, settings, money, ledger, queue, journal."""

"""The code that the front door and the workers share: errors, settings, money, ledger, queue, journal."""

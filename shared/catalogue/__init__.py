"""The models that are sold: their prices, and what each can do."""

"""The models: what is sold, at which price, and what each can do."""

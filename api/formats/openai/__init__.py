"""OpenAI's chat completions, files and batches."""

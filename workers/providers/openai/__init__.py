"""OpenAI's chat completions and Realtime; the first is also DeepSeek's protocol."""

"""OpenAI's chat completions (also DeepSeek's protocol), Responses and Realtime."""

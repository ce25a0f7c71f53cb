"""OpenAI's and DeepSeek's APIs, simulated."""

"""Google's Gemini API, simulated."""

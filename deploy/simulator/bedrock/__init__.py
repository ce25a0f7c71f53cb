"""Amazon Bedrock, simulated."""

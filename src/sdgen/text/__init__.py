"""Prompts as text: syntax, tokens and tokenizers."""

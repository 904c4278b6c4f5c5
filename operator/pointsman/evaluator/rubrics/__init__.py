"""Rubrics on text: from their definitions to what scores an answer."""

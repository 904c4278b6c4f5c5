"""Rubrics on text: from their definitions to what scores an answer."""

from __future__ import annotations

from pointsman.evaluator.rubrics.build import Library, Resources, scorers
from pointsman.evaluator.rubrics.types import Because, Case, Scored, Scorer, Unscored

__all__ = ["Because", "Case", "Library", "Resources", "Scored", "Scorer", "Unscored", "scorers"]

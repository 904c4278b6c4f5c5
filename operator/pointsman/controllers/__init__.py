"""Events in, one deduplicating queue with due times, reconciles out."""

"""Whether the lake says the truth: facts are read in one place, and judged by checks that read nothing."""

"""Other ways to run a model than the built-in library."""

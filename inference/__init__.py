"""Messages in, text out: everything that knows how a model runs, and nothing about pages, files or HTTP."""

"""Everything a person or a program touches: pages, API, command line."""

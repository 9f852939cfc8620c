"""Photos and their tables: where they come from, which are used, and how they are stored."""

"""A chat in the terminal: what is shown of its frames, what is asked, and how answers are read."""

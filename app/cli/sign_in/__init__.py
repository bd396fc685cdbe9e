"""Find the server of a command and sign in to it, from the same configuration as pyflyte."""

"""Virtual environments of tasks: which one an image means, how it is made, where it is kept."""

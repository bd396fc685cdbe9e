"""The serving processes: start-up steps, listening sockets, the web server and its supervisor, the log."""

"""Eight small applications whose state lives on a server, tasks in them, and a judge that reads that state."""

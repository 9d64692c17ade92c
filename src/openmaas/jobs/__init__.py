"""The program that does jobs: batches and tasks, asked of the relay for whoever pays."""

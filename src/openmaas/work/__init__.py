"""The book of jobs: what is to be done beyond a request, and who does it now."""

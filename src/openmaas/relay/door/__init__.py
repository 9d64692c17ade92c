"""The client's side: HTTP/1.1 from bytes to a request, and from an answer to bytes."""

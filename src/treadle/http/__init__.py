"""Routes derived from operations, with authentication, the event stream and foreign protocols."""

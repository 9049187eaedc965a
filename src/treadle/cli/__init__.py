"""The command line: daily verbs made by hand, every other operation derived."""

"""Text out of files that people attach. The files are untrusted and may be damaged, so a child process reads them."""

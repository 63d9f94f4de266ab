"""Chats on their way in and out: our own format and those of others."""

"""What the user saved: chats and what is remembered about models, in files that survive a crash."""

"""What several test packages share: a console in this process, and a console as a real process."""
